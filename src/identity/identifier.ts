/**
 * The name by which the hub knows the device: configured, else the certificate's common name, else the board's
 * serial number.
 */
import type { Clock } from "../platform/clock.ts";
import { failedEnd, runCommand } from "../platform/command.ts";
import { Failure } from "../platform/failure.ts";
import { readPublicFile } from "./files.ts";

const MAX_BYTES = 255;
const COMMAND_TIMEOUT_MS = 10_000;

/** Where a name may come from when none is configured. */
export interface IdentifierSources {
  readonly clock: Clock;
  /** The certificate's common name, which comes first when nothing is configured. */
  readonly commonName?: string | undefined;
  /** The board's serial number, which comes second. */
  readonly serialNumber: () => Promise<string | undefined>;
}

/**
 * The name by which the hub knows the device.
 * @param setting `identity.identifier`: `file:PATH`, `command:LINE`, the text itself, or empty for the
 *   board's own
 * @throws Failure `config` when there is none or it can't be a name; or the failure of the file or command
 */
export async function resolveIdentifier(setting: string, sources: IdentifierSources): Promise<string> {
  const [, scheme, rest = ""] = /^(file|command):(.*)$/s.exec(setting) ?? [];
  if (scheme === "file") return checked((await readPublicFile("identifier", rest)).toString(), setting);
  if (scheme === "command") return checked(await firstLineOf(rest, sources.clock), setting);
  if (setting !== "") return checked(setting, "identity.identifier");
  if (sources.commonName !== undefined) return checked(sources.commonName, "the certificate's common name");
  const serialNumber = await sources.serialNumber();
  if (serialNumber !== undefined) return checked(serialNumber, "the board's serial number");
  throw new Failure(
    "identifier_missing",
    "no certificate and no serial number names this board; set identity.identifier",
  );
}

async function firstLineOf(line: string, clock: Clock): Promise<string> {
  const result = await runCommand(line, { clock, timeoutMs: COMMAND_TIMEOUT_MS });
  if (result.exitCode === 0) return result.stdout.split("\n", 1).join();
  const end = failedEnd(result, COMMAND_TIMEOUT_MS);
  throw new Failure(
    "identifier_invalid",
    `identity.identifier: the command ${line} ${end}; correct it or its setting`,
  );
}

function checked(raw: string, origin: string): string {
  const identifier = raw.trim();
  const fault = faultOf(identifier);
  if (fault === undefined) return identifier;
  throw new Failure(
    "identifier_invalid",
    `the identifier from ${origin} ${fault}; correct it or identity.identifier`,
  );
}

function faultOf(identifier: string): string | undefined {
  if (identifier === "") return "is empty";
  if (/[\u0000-\u001f\u007f-\u009f]/.test(identifier)) return "holds control characters";
  const size = Buffer.byteLength(identifier);
  return size > MAX_BYTES ? `has ${size} bytes, more than ${MAX_BYTES}` : undefined;
}
