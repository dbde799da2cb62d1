/**
 * Fetching what is missing of a cached file, over several connections where the server gives ranges and parts
 * are announced. A server without ranges would send the whole file over each of them.
 */
import { addAbortListener } from "node:events";
import { Failure } from "../platform/failure.ts";
import { type CachedFile, CHANGED } from "./cached-file.ts";
import type { Stretch } from "./coverage.ts";
import { type FileVersion, isAnother, openHttp, requireLength } from "./http-file.ts";
import { type Line, requestBytes } from "./request.ts";
import { LineFault, Retries } from "./retries.ts";
import type { DownloadOptions } from "./stream.ts";
import { PART_BYTES, provesItself, tooLong, VerificationFailure } from "./verify.ts";

export interface PartsDownloadOptions extends Omit<DownloadOptions, "verifier" | "end"> {
  readonly file: CachedFile;
  /** How many requests may be under way at once; without announced parts there is one. */
  readonly connections: number;
  /** Waited for before each piece that comes is taken. */
  readonly mayGoOn?: () => Promise<void>;
  /** Gets how many bytes of the file are there, with each that comes. */
  readonly onBytes?: (bytes: number) => void;
}

/** With several connections, each fetches at most this many parts at a time. */
const STRETCH_PARTS = 8;

/**
 * Fetches what is missing of a cached file, several stretches at once, and proves it. What interrupts a
 * stretch is tried again from where it was, until too many attempts in a row bring no new byte to any.
 * @throws Failure, `cache_failed` for the disk; VerificationFailure; the signal's reason; what `renewUrl` throws
 */
export async function downloadParts(options: PartsDownloadOptions): Promise<void> {
  const { file } = options;
  for (let again = false; ; again = true) {
    await fetchMissing(options, file.expected.parts === null ? 1 : options.connections);
    try {
      await file.prove();
      return;
    } catch (error) {
      if (again || !(error instanceof VerificationFailure)) throw error;
      options.log.warn(`fetching the firmware anew: ${error.message}`);
    }
  }
}

/** The server gives whole files only: several connections would each fetch all of it. */
class NoRanges extends Failure {
  constructor() {
    super("download_refused", "the server gives no ranges");
  }
}

async function fetchMissing(options: PartsDownloadOptions, connections: number): Promise<void> {
  try {
    await fetchOver(options, connections);
  } catch (error) {
    if (!(error instanceof NoRanges)) throw error;
    options.log.info("the server gives no ranges; going on with one connection");
    await fetchOver(options, 1);
  }
}

async function fetchOver(options: PartsDownloadOptions, connections: number): Promise<void> {
  const { file } = options;
  const stretches = split(file, connections);
  if (stretches.length === 0) return;
  // A failure that ends one connection for good ends them all.
  const over = new AbortController();
  const { signal } = options;
  using _listener = signal && addAbortListener(signal, () => over.abort(signal.reason));
  const shared = { ...options, signal: over.signal };
  const retries = new Retries(shared, options.url, file.bytes);
  const http = await openHttp({ ...options, connections });
  const line: Line = { ...shared, retries, http };
  const work = async (): Promise<void> => {
    for (let stretch = stretches.shift(); stretch !== undefined; stretch = stretches.shift()) {
      await fetchStretch(line, { ...options, connections }, stretch);
    }
  };
  try {
    options.signal?.throwIfAborted();
    const workers = Array.from({ length: connections }, async () => {
      try {
        await work();
      } catch (error) {
        over.abort(error);
        throw error;
      }
    });
    const ends = await Promise.allSettled(workers);
    if (ends.some(({ status }) => status === "rejected")) throw over.signal.reason as Error;
  } finally {
    await http.close();
  }
}

/** The missing bytes, cut so that all connections have something to do. */
function split(file: CachedFile, connections: number): Stretch[] {
  const whole: Stretch = { offset: 0, end: file.expected.sizeBytes };
  if (file.gap(whole) === undefined) return [];
  if (connections === 1) return [whole];
  const missingParts = Math.ceil((whole.end - file.bytes) / PART_BYTES);
  const bytes = Math.max(1, Math.min(STRETCH_PARTS, Math.ceil(missingParts / connections))) * PART_BYTES;
  const stretches: Stretch[] = [];
  for (let offset = 0; offset < whole.end; offset += bytes) {
    stretches.push({ offset, end: Math.min(offset + bytes, whole.end) });
  }
  return stretches;
}

async function fetchStretch(line: Line, options: PartsDownloadOptions, stretch: Stretch): Promise<void> {
  const { file } = options;
  for (let gap = file.gap(stretch); gap !== undefined; gap = file.gap(stretch)) {
    const { url } = line.retries;
    try {
      await fetchGap(line, options, url, gap);
    } catch (error) {
      await line.retries.next(error, url, file.bytes);
    }
  }
}

/** One request for one gap. */
async function fetchGap(line: Line, options: PartsDownloadOptions, url: URL, gap: Stretch): Promise<void> {
  const { file, connections } = options;
  const { expected } = file;
  const proves = provesItself(expected);
  const joins = !proves && file.isUnproven(gap.offset);
  const accept = async (version: FileVersion, start: number): Promise<number> => {
    requireLength(version, expected);
    const changed = !proves && file.version !== null && isAnother(version, file.version);
    if (changed) file.forgetUnproven();
    await file.adopt(version);
    if (changed && joins) throw new LineFault(CHANGED);
    if (start < gap.offset && connections > 1) throw new NoRanges();
    return gap.offset;
  };
  let at = gap.offset;
  // A whole file is asked for as such: not every server gives ranges.
  const end = gap.offset === 0 && gap.end === expected.sizeBytes ? null : gap.end;
  try {
    const request = { url, offset: gap.offset, end, version: joins ? file.version : null, accept };
    for await (const chunk of requestBytes(line, request)) {
      const wanted = chunk.subarray(0, gap.end - at);
      if (wanted.length < chunk.length) throw tooLong(gap.end);
      await options.mayGoOn?.();
      await file.write(at, wanted);
      at += wanted.length;
      options.onBytes?.(file.bytes);
    }
  } catch (error) {
    if (!proves && error instanceof LineFault && error.pastEnd) file.forgetUnproven();
    throw error;
  }
  if (at < gap.end) throw new LineFault("the connection ended too early");
}
