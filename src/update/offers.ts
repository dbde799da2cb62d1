/**
 * Firmware that can be installed, and its source: the hub's `update` message, or a file, URL, socket or stream that
 * a person at the board names. A URL of the hub is signed, so it stays in here and is never logged.
 */
import { addAbortListener } from "node:events";
import { connect } from "node:net";
import type { Readable } from "node:stream";
import { isDeepStrictEqual } from "node:util";
import { interfaceTowards } from "../board/network-interface.ts";
import type { Config } from "../config/schema.ts";
import type { FirmwareCache } from "../download/cache.ts";
import { fetchFirmware } from "../download/fetch.ts";
import type { Trusted } from "../download/http-file.ts";
import type { DownloadWait } from "../download/retries.ts";
import { download } from "../download/stream.ts";
import { Verifier, type ExpectedFile } from "../download/verify.ts";
import { ArchiveShape, flawOf } from "../firmware/archive-shape.ts";
import type { AnnouncedMetadata } from "../firmware/metadata.ts";
import type { Update } from "../hub/device-messages.ts";
import { within } from "../platform/clock.ts";
import { Failure, fileFailure, messageOf } from "../platform/failure.ts";
import { openRegularFile } from "../platform/files.ts";
import { isHttpUrl } from "../platform/text.ts";
import { type Log, redact } from "../platform/log.ts";
import { hostOf, type ProxyChoice } from "../platform/proxy.ts";
import type { TokenBucket } from "../platform/pace.ts";
import type { World } from "../platform/world.ts";
import type { FreshUrl } from "./fresh-url.ts";

/** A firmware that could be installed. */
export interface Offer {
  /** The origin of the offer. The hub gets reports about its own offers only. */
  readonly origin: "hub" | "local";
  /** Install it although it is for another product or board. */
  readonly force?: boolean;
  /** uuid and the rest as far as they were announced; a local file announces nothing. */
  readonly announced: AnnouncedMetadata;
  /** Null when it is not known. */
  readonly sizeBytes: number | null;
  /** The hub's name for why it sends it. */
  readonly deploymentId: number | string | null;
  /** The network interface that its file comes over; undefined when the system does not know. */
  readonly networkInterface?: () => Promise<string | undefined>;
  /**
   * Opens the file. It yields bytes that are verified as far as checksums are known, and withholds the end
   * until the whole file is proven, because fwup acts as soon as it sees the archive's directory.
   */
  readonly open: (signal: AbortSignal, watch: DownloadWatch) => AsyncIterable<Uint8Array>;
  /** What the bytes that came show to be wrong with a local file, with its name; completes fwup's words. */
  readonly flaw?: () => string | undefined;
}

/** Learns how a file comes. */
export interface DownloadWatch {
  /** Gets the number of bytes on the disk, if the file is cached first. */
  readonly onCached: (bytes: number) => void;
  /** Gets why the download waits; undefined once bytes come again. */
  readonly onWaiting: (wait: DownloadWait | undefined) => void;
}

/** The parts and settings for fetching firmware. */
export interface OfferDeps {
  readonly world: World;
  readonly log: Log;
  readonly retry: Config["update"]["retry"];
  /** In bytes. */
  readonly rateLimit?: TokenBucket;
  readonly proxyFor: ProxyChoice;
  /** Reads the authorities that firmware servers may be certified by. */
  readonly trusted: Trusted;
}

/** The same for the hub's firmware, which can be cached because the hub announces its size and checksums. */
export interface HubOfferDeps extends OfferDeps, Pick<Config["update"], "mode" | "connections"> {
  readonly cache: FirmwareCache;
  /** Which URLs the hub may have this board fetch. */
  readonly mayFetch: (url: URL) => boolean;
}

/** The same, as the download takes it. */
export function downloadDeps<T extends OfferDeps>({ world, ...deps }: T) {
  return { ...deps, clock: world.clock, random: world.random };
}

/**
 * The offer of a hub's `update` message.
 * @param freshUrl has the hub sign a new URL when the first one expires
 */
export function hubOffer(update: Update, deps: HubOfferDeps, freshUrl: FreshUrl): Offer {
  const { uuid } = update.firmware_meta;
  let latest = update;
  const renewUrl = async (signal: AbortSignal): Promise<string> => {
    const before = expectedOf(latest);
    latest = await freshUrl.request(uuid, signal);
    if (isDeepStrictEqual(expectedOf(latest), before)) return latest.firmware_url;
    throw new Failure("file_changed", "the hub sends another file for the same firmware by now");
  };
  return {
    origin: "hub",
    announced: update.firmware_meta,
    sizeBytes: update.size,
    deploymentId: update.deployment_id,
    networkInterface: async () => interfaceFor(update.firmware_url, deps),
    open: (signal, watch) => {
      const url = (): string => latest.firmware_url;
      return fetchFirmware({
        ...downloadDeps(deps),
        uuid,
        url,
        expected: expectedOf(latest),
        renewUrl,
        signal,
        ...watch,
      });
    },
  };
}

/** Give up on DNS after this; the download reports the real error. */
const INTERFACE_TIMEOUT_MS = 2000;

/** The network interface of a download. NervesHub reads it in `started` only, when there is no connection yet. */
async function interfaceFor(
  url: string,
  { mayFetch, proxyFor, world, log }: HubOfferDeps,
): Promise<string | undefined> {
  const target = new URL(url);
  if (!mayFetch(target)) return undefined;
  const host = proxyFor(target)?.host ?? hostOf(target.hostname);
  const found = interfaceTowards(host).catch((error: unknown) => {
    log.debug(`by which interface ${host} is reached is not known: ${messageOf(error)}`);
    return undefined;
  });
  return await within(world.clock, INTERFACE_TIMEOUT_MS, found, undefined);
}

function expectedOf(update: Update): ExpectedFile {
  return { sizeBytes: update.size, checksum: update.checksum, parts: update.partials_checksums };
}

const UNANNOUNCED: ExpectedFile = { sizeBytes: null, checksum: null, parts: null };

/** A person waits for a download, and may have mistyped its URL: the hub's are tried for most of an hour. */
const PERSON_PATIENCE_MS = 60_000;
/** The first delay between attempts. */
const PERSON_DELAY_MS = 2000;

/**
 * The offer of `hublink apply SOURCE`.
 * @param source an http(s) URL, `unix:PATH` of a socket that sends the file, or the path of a file
 * @throws Failure when there is no such file
 */
export async function localOffer(source: string, deps: OfferDeps, force = false): Promise<Offer> {
  if (isHttpUrl(source)) {
    const delayMs = Math.min(deps.retry.delayMs, PERSON_DELAY_MS);
    const patience = { retry: { ...deps.retry, delayMs }, firstByteMs: PERSON_PATIENCE_MS };
    const open = (signal: AbortSignal, { onWaiting }: DownloadWatch): AsyncIterable<Uint8Array> =>
      download({
        ...{ ...downloadDeps(deps), ...patience, onWaiting, signal },
        ...{ url: source, verifier: new Verifier(UNANNOUNCED) },
      });
    return watched(source, force, null, open);
  }
  if (source.startsWith("unix:")) {
    const path = source.slice("unix:".length);
    return watched(STANDARD_INPUT, force, null, (signal) => readable(connect(path), path, signal));
  }
  const { sizeBytes, flaw } = await fileFacts(source);
  if (flaw !== undefined) throw new Failure("metadata_invalid", `firmware ${source} ${flaw}`);
  return watched(source, force, sizeBytes, (signal) => contentOf(source, signal));
}

async function fileFacts(path: string): Promise<{ sizeBytes: number; flaw: string | undefined }> {
  const file = await openRegularFile("firmware", path);
  try {
    return { sizeBytes: (await file.stat()).size, flaw: await flawOf(file) };
  } catch (error) {
    throw fileFailure("firmware", path, error);
  } finally {
    await file.close();
  }
}

/** The path may lead to another thing since it was checked, such as a pipe: it is opened with the same care. */
async function* contentOf(path: string, signal: AbortSignal): AsyncGenerator<Uint8Array, void> {
  const file = await openRegularFile("firmware", path);
  yield* readable(file.createReadStream(), path, signal);
}

/** A program that sends firmware over a socket is mostly the command line, with its standard input. */
const STANDARD_INPUT = "from standard input";

/** A local offer whose bytes are watched, to say more than fwup when they are no archive. */
function watched(name: string, force: boolean, sizeBytes: number | null, open: Offer["open"]): Offer {
  let shape = new ArchiveShape();
  return {
    origin: "local",
    force,
    announced: {},
    deploymentId: null,
    sizeBytes,
    open(signal, watch) {
      shape = new ArchiveShape();
      return shape.watch(open(signal, watch));
    },
    flaw: () => (shape.flaw === undefined ? undefined : `firmware ${redact(name)} ${shape.flaw}`),
  };
}

/** The offer of a stream of this process, such as standard input. */
export function streamOffer(stream: Readable, force = false): Offer {
  return watched(STANDARD_INPUT, force, null, (signal) => readable(stream, "-", signal));
}

async function* readable(
  stream: Readable,
  name: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  using _listener = addAbortListener(signal, () => stream.destroy(signal.reason as Error));
  try {
    for await (const chunk of stream) yield chunk as Buffer; // no encoding is set, so no strings
  } catch (error) {
    signal.throwIfAborted();
    throw fileFailure("firmware", name, error);
  }
}
