import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { connect } from "node:net";
import type { Readable } from "node:stream";
import { download, type RetryPolicy } from "../firmware/download.ts";
import type { Offer } from "../firmware/update.ts";
import { createVerifier, type ExpectedFile } from "../firmware/verify.ts";
import type { Update } from "../hub/device-messages.ts";
import type { Clock } from "../platform/clock.ts";
import { Failure, fileFailure } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

/** What fetching firmware needs. */
export interface OfferDeps {
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly retry: RetryPolicy;
  /** PEM; whom to trust as a server of firmware. */
  readonly ca: readonly string[];
}

/** The offer of a hub's `update` message. */
export function hubOffer(update: Update, deps: OfferDeps): Offer {
  const expected: ExpectedFile = {
    sizeBytes: update.size,
    checksum: update.checksum,
    parts: update.partials_checksums,
  };
  return {
    origin: "hub",
    announced: update.firmware_meta,
    sizeBytes: update.size,
    open: (signal) => fetch(update.firmware_url, expected, deps, signal),
  };
}

const UNANNOUNCED: ExpectedFile = { sizeBytes: null, checksum: null, parts: null };

/**
 * The offer of `hublink apply SOURCE`.
 * @param source an http(s) URL, `unix:PATH` of a socket that sends the file, or the path of a file
 * @throws Failure when there is no such file
 */
export async function localOffer(source: string, deps: OfferDeps): Promise<Offer> {
  const offer = { origin: "local", announced: {} } as const;
  if (/^https?:\/\//i.test(source)) {
    return { ...offer, sizeBytes: null, open: (signal) => fetch(source, UNANNOUNCED, deps, signal) };
  }
  if (source.startsWith("unix:")) {
    const path = source.slice("unix:".length);
    return { ...offer, sizeBytes: null, open: (signal) => readable(connect(path), path, signal) };
  }
  const sizeBytes = await fileSize(source);
  return { ...offer, sizeBytes, open: (signal) => readable(createReadStream(source), source, signal) };
}

/** The offer of a stream of this process, such as standard input. */
export function streamOffer(stream: Readable): Offer {
  return { origin: "local", announced: {}, sizeBytes: null, open: (signal) => readable(stream, "-", signal) };
}

function fetch(
  url: string,
  expected: ExpectedFile,
  deps: OfferDeps,
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  return download({ ...deps, url, signal, verifier: createVerifier(expected) });
}

async function* readable(
  stream: Readable,
  name: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  const onAbort = (): void => {
    stream.destroy(signal.reason as Error);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    for await (const chunk of stream) yield chunk as Buffer; // no encoding is set, so no strings
  } catch (error) {
    signal.throwIfAborted();
    throw fileFailure("firmware", name, error);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

async function fileSize(path: string): Promise<number> {
  let stats: Awaited<ReturnType<typeof stat>>;
  try {
    stats = await stat(path);
  } catch (error) {
    throw fileFailure("firmware", path, error);
  }
  if (!stats.isFile()) throw new Failure("no-input", `firmware ${path} is not a file`);
  return stats.size;
}
