/**
 * One request for a stretch of a file: its bytes as they come, and a watch over their pace. A line that is
 * silent, or too slow to ever finish, is given up, so that the next request can try another connection.
 */
import { addAbortListener } from "node:events";
import type { Readable } from "node:stream";
import { type Cancel, type Clock, sleep } from "../platform/clock.ts";
import type { TokenBucket } from "../platform/token-bucket.ts";
import { discard, type FileVersion, type Http, openFile } from "./http-file.ts";
import { LineFault, type Retries, type RetryOptions } from "./retries.ts";

/** What the requests of one download have in common. */
export interface Line {
  readonly http: Http;
  readonly retries: Retries;
  readonly retry: RetryOptions["retry"];
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** Bytes; shared by all that the limit is for. */
  readonly rateLimit?: TokenBucket | undefined;
  /** Sent to the URL's own origin only, not to where it redirects. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

export interface BytesRequest {
  readonly url: URL;
  readonly offset: number;
  /** The position after the last byte wanted; null for the file's end. */
  readonly end: number | null;
  /** The state that unproven bytes before `offset` are of; null when there are none. */
  readonly version: FileVersion | null;
  /**
   * Learns which state of the file the bytes to come are of, and where they start: at `offset`, or at 0
   * when the server gives no ranges. Says from where on they are wanted; throws if they are of no use.
   */
  readonly accept: (version: FileVersion, start: number) => number | Promise<number>;
}

/**
 * Makes one request and gives its bytes, as far as they are wanted, as they come, watched for their pace.
 * @throws LineFault, also when the answer ends too early; what `accept` throws; Failure when
 *   another request won't help; errors of undici and of the system; the signal's reason
 */
export async function* requestBytes(line: Line, request: BytesRequest): AsyncGenerator<Buffer, void> {
  const { clock, retry, signal, retries } = line;
  signal?.throwIfAborted();
  const abort = new AbortController();
  using _listener = signal && addAbortListener(signal, () => abort.abort(signal.reason));
  const pace = createPace(clock, {
    idleMs: retry.idleTimeoutMs,
    minRateBytesS: retry.minRateBytesS,
    deadlineMs: retries.deadlineMs,
    onFault: (fault) => abort.abort(fault),
    onDeadline: () => abort.abort(retries.timedOut("the file is not complete yet")),
  });
  try {
    yield* readBytes(line, request, pace.wait, abort.signal);
  } catch (error) {
    abort.signal.throwIfAborted(); // undici may wrap the reason
    throw error;
  } finally {
    pace.stop();
  }
}

async function* readBytes(
  { http, headers = {}, clock, rateLimit }: Line,
  { accept, ...request }: BytesRequest,
  wait: <T>(work: Promise<T>, sizeOf: (result: T) => number) => Promise<T>,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void> {
  const opening = openFile(http, { ...request, headers, nowMs: clock.now(), signal });
  const { start, version, body } = await wait(opening, () => 0);
  const end = request.end ?? version.totalBytes;
  let at = start;
  try {
    const reader = readBody(body);
    const wantedFrom = await accept(version, start);
    const next = async (): Promise<Buffer | null> => {
      signal.throwIfAborted(); // bytes that came before it are no longer wanted
      return wait(reader.next(), (chunk) => chunk?.length ?? 0);
    };
    for (let chunk = await next(); chunk !== null; chunk = await next()) {
      const from = Math.max(0, wantedFrom - at);
      const to = request.end === null ? chunk.length : request.end - at;
      at += chunk.length;
      if (from < chunk.length) yield chunk.subarray(from, to);
      if (request.end !== null && at >= request.end) return;
      const debtMs = rateLimit?.spend(chunk.length) ?? 0;
      if (debtMs > 0) await sleep(clock, debtMs, signal); // not within `wait`: this slowness is our own
    }
  } finally {
    discard(body);
  }
  if (end !== null && at < end) throw new LineFault("the connection ended too early");
}

/** Reads a body to its end, or to where it broke. */
export interface BodyReader {
  /**
   * The next bytes; null at the end.
   * @throws what broke the body, once all that came before it has been given
   */
  next(): Promise<Buffer | null>;
}

/** At most this much is buffered ahead of the consumer, besides the sockets' own buffers. */
const AHEAD_BYTES = 1024 * 1024;

/**
 * A broken stream drops what is in its buffers, and its own iterator leaves bytes there. On a line that breaks often
 * those bytes would be fetched again and again, so they are taken out as soon as they come.
 */
export function readBody(body: Readable): BodyReader {
  const chunks: Buffer[] = [];
  let aheadBytes = 0;
  let over: { readonly error: Error | null } | undefined;
  let wake = (): void => undefined;
  const end = (error: Error | null): void => {
    over ??= { error };
    wake();
  };
  body.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    aheadBytes += chunk.length;
    if (aheadBytes >= AHEAD_BYTES) body.pause();
    wake();
  });
  body.once("error", end);
  body.once("close", () => {
    end(null);
  });
  return {
    async next() {
      while (chunks.length === 0 && over === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const chunk = chunks.shift();
      if (chunk !== undefined) {
        aheadBytes -= chunk.length;
        if (aheadBytes < AHEAD_BYTES && body.isPaused()) body.resume();
        return chunk;
      }
      const error = over?.error ?? null;
      if (error !== null) throw error;
      return null;
    },
  };
}

export interface PaceOptions {
  /** The longest wait for a byte. */
  readonly idleMs: number;
  /** The least over {@link WINDOW_MS}; 0 for none. */
  readonly minRateBytesS: number;
  /** On the monotonic clock. */
  readonly deadlineMs: number;
  readonly onFault: (fault: LineFault) => void;
  readonly onDeadline: () => void;
}

/** Watches how fast a line gives; only while it is waited for, so that a slow consumer is not its fault. */
export interface Pace {
  /** Waits for `work`, which brings as many bytes as `sizeOf` says. */
  readonly wait: <T>(work: Promise<T>, sizeOf: (result: T) => number) => Promise<T>;
  readonly stop: () => void;
}

/** Rates are measured over this much time spent waiting. */
const WINDOW_MS = 60_000;

function createPace(clock: Clock, options: PaceOptions): Pace {
  const { idleMs, minRateBytesS, deadlineMs } = options;
  /** Of the window under way. */
  let waitedMs = 0;
  let bytes = 0;
  /** Up to where `waitedMs` has counted. */
  let countedMs = 0;
  let cancel: Cancel | undefined;

  const count = (): void => {
    const nowMs = clock.monotonic();
    waitedMs += nowMs - countedMs;
    countedMs = nowMs;
    if (waitedMs < WINDOW_MS) return;
    const rate = Math.floor(bytes / (waitedMs / 1000));
    waitedMs = 0;
    bytes = 0;
    if (rate >= minRateBytesS) return;
    const text = `the server gave ${rate} bytes/s, at least ${minRateBytesS} are wanted`;
    options.onFault(new LineFault(text, { tooSlow: true }));
  };

  /** @param idleAtMs when the wait for the next byte has been too long */
  const watch = (idleAtMs: number): void => {
    const dueMs = Math.min(idleAtMs, deadlineMs, countedMs + WINDOW_MS - waitedMs);
    cancel = clock.after(Math.max(0, dueMs - clock.monotonic()), () => {
      const nowMs = clock.monotonic();
      if (nowMs >= deadlineMs) {
        options.onDeadline();
      } else if (nowMs >= idleAtMs) {
        options.onFault(new LineFault(`no byte came for ${idleMs / 1000} s`));
      } else {
        count();
        watch(idleAtMs);
      }
    });
  };

  return {
    async wait(work, sizeOf) {
      countedMs = clock.monotonic();
      if (countedMs >= deadlineMs) options.onDeadline();
      watch(countedMs + idleMs);
      try {
        const result = await work;
        bytes += sizeOf(result);
        return result;
      } finally {
        cancel?.();
        count();
      }
    },
    stop() {
      cancel?.();
    },
  };
}
