/**
 * How the bytes of a firmware reach fwup: straight from the server, or through the cache. A cache that fails
 * must not cost the update, so the rest is then streamed.
 */
import type { Config } from "../config/schema.ts";
import { failedWith } from "../platform/failure.ts";
import { type FirmwareCache, isCacheable } from "./cache.ts";
import type { CachedFile } from "./cached-file.ts";
import { downloadParts } from "./parts.ts";
import { download, type DownloadOptions } from "./stream.ts";
import { type ExpectedFile, VerificationFailure, Verifier } from "./verify.ts";

export interface FetchOptions
  extends Omit<DownloadOptions, "url" | "verifier" | "end">, Pick<Config["update"], "mode" | "connections"> {
  /** The URL to begin with; asked again for each part of the work, since it may have been renewed. */
  readonly url: () => string;
  readonly uuid: string;
  readonly expected: ExpectedFile;
  readonly cache: FirmwareCache;
  /** Gets how many bytes are in the cache. */
  readonly onCached?: (bytes: number) => void;
}

/** Read from the cache at a time. */
const READ_BYTES = 64 * 1024;

/**
 * Fetches firmware: straight through, or first to the cache, and then it is complete and proven before the
 * first byte is given. A cache that fails on the way is used as far as it goes, and the rest is fetched
 * straight through.
 * @throws Failure; VerificationFailure; the signal's reason; what `renewUrl` throws
 */
export async function* fetchFirmware(options: FetchOptions): AsyncGenerator<Uint8Array, void> {
  const verifier = new Verifier(options.expected);
  const file = await openCache(options);
  if (file === undefined) {
    yield* download({ ...options, url: options.url(), verifier });
    return;
  }
  try {
    await fill(file, options);
    yield* throughCache(file, verifier, options);
  } catch (error) {
    // The file is wrong although each part was right, or wrong as a whole: no byte of it can be used.
    if (error instanceof VerificationFailure) await discard(file, options);
    throw error;
  } finally {
    await file.close();
  }
}

/** Undefined when the firmware goes straight through; the log says why a cache that is wanted can't be used. */
async function openCache(options: FetchOptions): Promise<CachedFile | undefined> {
  const { cache, expected, log, mode, uuid } = options;
  if (mode === "stream") return undefined;
  if (!isCacheable(expected)) {
    if (mode === "cache") log.warn("not cached: the hub announces neither size nor checksums to prove it by");
    return undefined;
  }
  try {
    return await cache.open(uuid, expected);
  } catch (error) {
    if (!failedWith(error, "cache_failed")) throw error;
    log.warn(`streaming the update: ${error.message}`);
    return undefined;
  }
}

async function fill(file: CachedFile, options: FetchOptions): Promise<void> {
  const { log, onCached, uuid } = options;
  if (file.bytes > 0) log.info("going on with what is in the cache", { uuid, bytes: file.bytes });
  onCached?.(file.bytes);
  try {
    const onBytes = onCached === undefined ? {} : { onBytes: onCached };
    await downloadParts({ ...options, ...onBytes, url: options.url(), file });
    log.info("the update is in the cache, complete and proven", { uuid, bytes: file.bytes });
  } catch (error) {
    if (!failedWith(error, "cache_failed")) throw error;
    log.warn(`streaming the rest of the update: ${error.message}`, { uuid, bytes: file.bytes });
  }
}

/** Gives the file: from the cache what is there, from the server what is not. */
async function* throughCache(
  file: CachedFile,
  verifier: Verifier,
  options: FetchOptions,
): AsyncGenerator<Uint8Array, void> {
  const { sizeBytes } = file.expected;
  while (verifier.offset < sizeBytes) {
    const { offset } = verifier;
    const bytes = await readOrNothing(file, offset);
    if (bytes.length > 0) {
      try {
        yield* verifier.push(bytes);
      } catch (error) {
        if (!failedWith(error, "part_wrong")) throw error;
        options.log.warn(`the cache has changed on the disk: ${error.message}`);
        file.forgetPart(verifier.offset);
      }
    } else {
      const end = nextInCache(file, offset);
      yield* download({
        ...options,
        url: options.url(),
        verifier,
        ...(end < sizeBytes && { end }),
      });
      if (end === sizeBytes) return;
    }
  }
  yield* verifier.end();
}

/** Nothing, too, from a disk that can no longer be read: those bytes are fetched again. */
async function readOrNothing(file: CachedFile, offset: number): Promise<Uint8Array> {
  try {
    return await file.read(offset, READ_BYTES);
  } catch (error) {
    if (!failedWith(error, "cache_failed")) throw error;
    file.forgetPart(offset);
    return new Uint8Array();
  }
}

/** Where the gap at `offset` ends. */
function nextInCache(file: CachedFile, offset: number): number {
  const { sizeBytes } = file.expected;
  const gap = file.gap({ offset, end: sizeBytes });
  return gap?.end ?? sizeBytes;
}

async function discard(file: CachedFile, { log }: FetchOptions): Promise<void> {
  try {
    await file.remove();
  } catch (error) {
    if (!failedWith(error, "cache_failed")) throw error;
    log.warn(error.message);
  }
}
