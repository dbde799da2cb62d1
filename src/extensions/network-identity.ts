import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../platform/clock.ts";
import { commandOutput } from "../platform/command.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { parseJson } from "../platform/text.ts";
import type { Extension, ExtensionContext } from "./extension.ts";

export interface NetworkIdentityOptions {
  /**
   * By `SERVICE` or `SERVICE/INSTANCE`: the identifier itself, "command:COMMAND" for the first line that it
   * prints, or "json:POINTER COMMAND" for what is at that JSON pointer in its output.
   */
  readonly services: Readonly<Record<string, string>>;
  readonly clock: Clock;
}

interface Identity {
  readonly service: string;
  readonly identifier: string;
  readonly instance?: string;
}

/** NervesHub takes no more. */
const MAX_IDENTITIES = 10;
const MAX_LENGTH = 1024;
const LOOK_AGAIN_MS = 300_000;

/** Tells under which names the board is found in its VPNs: when the hub asks, and when one has changed. */
export function createNetworkIdentity({ services, clock }: NetworkIdentityOptions): Extension {
  return {
    name: "network_identity",
    version: "0.0.1",
    start(context) {
      let told: readonly Identity[] | undefined;
      const tell = async (evenUnchanged: boolean): Promise<void> => {
        const identities = await readIdentities(services, clock, context);
        if (!evenUnchanged && isDeepStrictEqual(identities, told)) return;
        if (context.push("report", { identities })) told = identities;
      };
      const lookAgain = (): void => {
        context.clock.after(LOOK_AGAIN_MS, () => {
          tell(false).then(lookAgain, (error: unknown) => context.fail(error));
        });
      };
      lookAgain();
      return {
        async onMessage(event) {
          if (event === "request") await tell(true);
        },
      };
    },
  };
}

/** Those that can be read; what is wrong with the others is logged. */
async function readIdentities(
  services: Readonly<Record<string, string>>,
  clock: Clock,
  { signal, log }: ExtensionContext,
): Promise<Identity[]> {
  const read = Object.entries(services)
    .slice(0, MAX_IDENTITIES)
    .map(async ([key, source]) => {
      const [service = "", instance] = key.split("/");
      try {
        const identifier = await readIdentifier(source, `network_identity.services.${key}`, clock, signal);
        return [{ service, identifier, ...(instance !== undefined && { instance }) }];
      } catch (error) {
        if (!signal.aborted) log.warn(messageOf(error));
        return [];
      }
    });
  return (await Promise.all(read)).flat();
}

async function readIdentifier(
  source: string,
  setting: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<string> {
  const [, pointer, jsonCommand] = /^json:(\/\S*) (.+)$/s.exec(source) ?? [];
  const command = jsonCommand ?? /^command:(.*)$/s.exec(source)?.[1];
  const output = command === undefined ? source : await commandOutput(command, setting, clock, signal);
  const found = pointer === undefined ? output.split("\n", 1)[0] : jsonPointer(output, pointer);
  const text = typeof found === "string" || typeof found === "number" ? String(found).trim() : "";
  if (text === "" || text.length > MAX_LENGTH) {
    throw new Failure(
      "unavailable",
      `${setting}: no identifier${pointer === undefined ? "" : ` at ${pointer}`}`,
    );
  }
  return text;
}

/**
 * What a JSON pointer (RFC 6901) leads to in a JSON text; undefined when it leads nowhere or the text is no JSON.
 * @param pointer such as `/Self/ID`
 */
function jsonPointer(text: string, pointer: string): unknown {
  let value = parseJson(text);
  const keys = pointer.split("/").slice(1);
  for (const key of keys.map((escaped) => escaped.replaceAll("~1", "/").replaceAll("~0", "~"))) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[key]; // an array's keys are its indices
  }
  return value;
}
