/**
 * The name by which the hub knows the device: configured, else the certificate's common name, else the board's own
 * serial number. Placeholders don't count as one: boards whose fuses were never burnt have them, and a whole fleet
 * would share a name.
 */
import { join } from "node:path";
import { failedEnd } from "../platform/command.ts";
import { Failure } from "../platform/failure.ts";
import { readIfThere } from "../platform/files.ts";
import type { World } from "../platform/world.ts";
import { readPublicFile } from "./files.ts";

const MAX_BYTES = 255;
const COMMAND_TIMEOUT_MS = 10_000;

/**
 * The name by which the hub knows the device.
 * @param setting `identity.identifier`: `file:PATH`, `command:LINE`, the text itself, or empty for the
 *   board's own
 * @param commonName the certificate's, which is preferred to the serial number
 * @throws Failure `config` when there is none or it can't be a name; or the failure of the file or command
 */
export async function resolveIdentifier(setting: string, world: World, commonName?: string): Promise<string> {
  const [, scheme, rest = ""] = /^(file|command):(.*)$/s.exec(setting) ?? [];
  if (scheme === "file") return checked((await readPublicFile("identifier", rest)).toString(), setting);
  if (scheme === "command") return checked(await firstLineOf(rest, world), setting);
  if (setting !== "") return checked(setting, "identity.identifier");
  if (commonName !== undefined) return checked(commonName, "the certificate's common name");
  const serial = await serialNumber(world);
  if (serial !== undefined) return checked(serial, "the board's serial number");
  throw new Failure(
    "identifier_missing",
    "no certificate and no serial number names this board; set identity.identifier",
  );
}

async function firstLineOf(line: string, { clock, run }: World): Promise<string> {
  const result = await run(line, { clock, timeoutMs: COMMAND_TIMEOUT_MS });
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

const BOARDID_TIMEOUT_MS = 5000;

/** The first serial number that the board has: device tree, cpuinfo, nerves' boardid, machine-id. */
export async function serialNumber(world: World): Promise<string | undefined> {
  const { root } = world;
  const read = async (path: string): Promise<string | undefined> => readIfThere(join(root, path));
  const sources = [
    async () => read("proc/device-tree/serial-number"),
    async () => /^Serial[ \t]*:[ \t]*(\S+)$/m.exec((await read("proc/cpuinfo")) ?? "")?.[1],
    async () => boardid(join(root, "usr/bin/boardid"), world),
    async () => read("etc/machine-id"),
  ];
  for (const source of sources) {
    // The device tree's texts end with a NUL.
    const serial = (await source())?.replaceAll("\0", "").trim() ?? "";
    if (!/^(0*|uninitialized)$/.test(serial)) return serial;
  }
  return undefined;
}

/** https://github.com/nerves-project/boardid knows many boards' EEPROMs and fuses. */
async function boardid(program: string, { clock, run }: World): Promise<string | undefined> {
  try {
    const result = await run([program], { clock, timeoutMs: BOARDID_TIMEOUT_MS });
    return result.exitCode === 0 ? result.stdout : undefined;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return undefined; // not installed
  }
}
