/**
 * The extension `geo`: reports where the board is when the hub asks. The place is fixed in the configuration, or
 * comes from a command or a web service; both may hang or answer without end, so time and size are limited.
 */
import * as v from "valibot";
import { cached, type Clock } from "../platform/clock.ts";
import { commandOutput } from "../platform/command.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { isHttpUrl, parseJson } from "../platform/text.ts";
import type { Extension, ExtensionContext, RunningExtension } from "./extension.ts";

interface Location {
  readonly latitude: number;
  readonly longitude: number;
  /** Meters. */
  readonly accuracy?: number;
}

/** PEM of CA certificates, read when they are needed: a store has some 140. */
export type TrustedCas = () => Promise<readonly string[]>;

/** The service is asked no more often than this, even for a board that moves. */
const MAX_AGE_MS = 60_000;
const HTTP_TIMEOUT_MS = 20_000;
const MAX_ANSWER_BYTES = 64 * 1024;

export class Geo implements Extension {
  readonly name = "geo";
  readonly versions = ["0.0.1"] as const;
  readonly #source: string;
  readonly #clock: Clock;
  readonly #trusted: TrustedCas;

  /**
   * @param source "LATITUDE,LONGITUDE", "command:COMMAND", or the http(s) URL of a service that answers with JSON
   * @param trusted the CAs that an https service is verified with
   */
  constructor(source: string, clock: Clock, trusted: TrustedCas) {
    this.#source = source;
    this.#clock = clock;
    this.#trusted = trusted;
  }

  start({ push, signal }: ExtensionContext): RunningExtension {
    const locate = cached(this.#clock, MAX_AGE_MS, async () =>
      findLocation(this.#source, this.#clock, this.#trusted, signal),
    );
    return {
      async onMessage(event) {
        if (event !== "location:request") return;
        try {
          push("location:update", await locate());
        } catch (error) {
          push("location:update", { error_code: "unavailable", error_description: messageOf(error) });
        }
      },
    };
  }
}

async function findLocation(
  source: string,
  clock: Clock,
  trusted: TrustedCas,
  signal: AbortSignal,
): Promise<Location & { readonly source: string }> {
  const command = /^command:(.*)$/s.exec(source)?.[1];
  if (command !== undefined) {
    return { source: "command", ...parseLocation(await commandOutput(command, "geo.source", clock, signal)) };
  }
  if (isHttpUrl(source)) {
    return { source: "geoip", ...parseLocation(await fetchText(source, await trusted(), signal)) };
  }
  return { source: "fixed", ...parseLocation(source) };
}

async function fetchText(url: string, ca: readonly string[], signal: AbortSignal): Promise<string> {
  const { Agent, request } = await import("undici"); // loaded only here: it takes some MB, and most boards never use it
  // All explicit, since the environment and NODE_OPTIONS change Node's defaults.
  const dispatcher = new Agent({ connect: { ca: [...ca], rejectUnauthorized: true, minVersion: "TLSv1.2" } });
  try {
    const { statusCode, body } = await request(url, {
      dispatcher,
      signal: AbortSignal.any([signal, AbortSignal.timeout(HTTP_TIMEOUT_MS)]),
      headers: { accept: "application/json" },
    });
    let text = "";
    for await (const chunk of body) {
      text += (chunk as Buffer).toString("utf8"); // a Buffer, because no encoding is set
      if (text.length > MAX_ANSWER_BYTES)
        throw new Failure("unavailable", "geo.source answers with too much");
    }
    if (statusCode !== 200) throw new Failure("unavailable", `geo.source answers with ${statusCode}`);
    return text;
  } finally {
    await dispatcher.destroy();
  }
}

const Degrees = (limit: number) =>
  v.pipe(
    v.union([v.number(), v.pipe(v.string(), v.nonEmpty(), v.transform(Number))]),
    v.number(),
    v.minValue(-limit),
    v.maxValue(limit),
  );
const Latitude = Degrees(90);
const Longitude = Degrees(180);
const Accuracy = v.optional(v.pipe(v.number(), v.minValue(0)));

/** The spellings that services use. */
const Answer = v.union([
  v.object({ latitude: Latitude, longitude: Longitude, accuracy: Accuracy }),
  v.pipe(
    v.object({ lat: Latitude, lon: Longitude, accuracy: Accuracy }),
    v.transform(({ lat, lon, accuracy }) => ({ latitude: lat, longitude: lon, accuracy })),
  ),
]);

/**
 * Reads `LATITUDE,LONGITUDE`, or JSON with `latitude` and `longitude` (or `lat` and `lon`).
 * @throws Failure when it is neither
 */
function parseLocation(text: string): Location {
  const [, latitude, longitude] = /^(-?[\d.]+)(?:\s*,\s*|\s+)(-?[\d.]+)$/.exec(text.trim()) ?? [];
  const result = v.safeParse(Answer, latitude === undefined ? parseJson(text) : { latitude, longitude });
  if (!result.success) throw new Failure("unavailable", "geo.source gives no latitude and longitude");
  const { accuracy, ...position } = result.output;
  return accuracy === undefined ? position : { ...position, accuracy };
}
