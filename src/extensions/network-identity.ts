/**
 * The extension `network_identity`: reports the names under which the board is found in its VPNs, when the hub
 * asks and when one has changed. A name that can't be read is left out, and the log says why.
 */
import { isDeepStrictEqual } from "node:util";
import type { Config } from "../config/schema.ts";
import type { Clock } from "../platform/clock.ts";
import { commandOutput } from "../platform/command.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { parseJson } from "../platform/text.ts";
import type { Extension, ExtensionContext, RunningExtension } from "./extension.ts";

interface Identity {
  readonly service: string;
  readonly identifier: string;
  readonly instance?: string;
}

/** NervesHub's own limits. */
const MAX_IDENTITIES = 10;
const MAX_LENGTH = 1024;
const POLL_MS = 300_000;

export class NetworkIdentity implements Extension {
  readonly name = "network_identity";
  readonly versions = ["0.0.1"] as const;
  readonly #services: Config["networkIdentity"]["services"];
  readonly #clock: Clock;

  /**
   * @param config whose `services` are keyed by `SERVICE` or `SERVICE/INSTANCE`. Each is the identifier itself,
   *   "command:COMMAND" for the first line of its output, or "json:POINTER COMMAND" for a value in its output
   * @param clock limits the time of the commands
   */
  constructor({ services }: Config["networkIdentity"], clock: Clock) {
    this.#services = services;
    this.#clock = clock;
  }

  start(context: ExtensionContext): RunningExtension {
    let reported: readonly Identity[] | undefined;
    const report = async (evenUnchanged: boolean): Promise<void> => {
      const identities = await this.#readAll(context);
      if (!evenUnchanged && isDeepStrictEqual(identities, reported)) return;
      if (context.push("report", { identities })) reported = identities;
    };
    const poll = (): void => {
      context.clock.after(POLL_MS, () => {
        report(false).then(poll, (error: unknown) => context.fail(error));
      });
    };
    poll();
    return {
      async onMessage(event) {
        if (event === "request") await report(true);
      },
    };
  }

  /** The identities that can be read. */
  async #readAll({ signal, log }: ExtensionContext): Promise<Identity[]> {
    const identities = Object.entries(this.#services)
      .slice(0, MAX_IDENTITIES)
      .map(async ([key, source]) => {
        const [service = "", instance] = key.split("/");
        const setting = `network_identity.services.${key}`;
        try {
          const identifier = await readIdentifier(source, setting, this.#clock, signal);
          return [{ service, identifier, ...(instance !== undefined && { instance }) }];
        } catch (error) {
          if (!signal.aborted) log.warn(messageOf(error));
          return [];
        }
      });
    return (await Promise.all(identities)).flat();
  }
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
      "command_failed",
      `${setting}: no identifier${pointer === undefined ? "" : ` at ${pointer}`}`,
    );
  }
  return text;
}

/**
 * The value at a JSON pointer (RFC 6901) in a JSON text; undefined when there is none or the text is not JSON.
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
