/**
 * One request for a stretch of a file: its bytes as they come, and a watch over their pace. A line that is
 * silent, or too slow to ever finish, is given up, so that the next request can try another connection.
 */
import { addAbortListener } from "node:events";
import type { Readable } from "node:stream";
import { type Cancel, sleep } from "../platform/clock.ts";
import type { Failure } from "../platform/failure.ts";
import type { TokenBucket } from "../platform/pace.ts";
import { discard, type FileVersion, type Http, openFile } from "./http-file.ts";
import { LineFault, type Retries, type RetryOptions } from "./retries.ts";

/** The things that the requests of one download share. */
export interface Line extends Pick<RetryOptions, "clock" | "retry" | "signal"> {
  readonly http: Http;
  readonly retries: Retries;
  /** Bytes; shared by all that the limit is for. */
  readonly rateLimit?: TokenBucket;
  /** Sent to the URL's own origin only, not to where it redirects. */
  readonly headers?: Readonly<Record<string, string>>;
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
  const { signal } = line;
  signal?.throwIfAborted();
  const abort = new AbortController();
  using _listener = signal && addAbortListener(signal, () => abort.abort(signal.reason));
  const pace = new Pace(line, (reason) => abort.abort(reason));
  try {
    yield* readBytes(line, request, pace, abort.signal);
  } catch (error) {
    abort.signal.throwIfAborted(); // undici may wrap the reason
    throw error;
  }
}

async function* readBytes(
  { http, headers = {}, clock, rateLimit, retries }: Line,
  { accept, ...request }: BytesRequest,
  pace: Pace,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void> {
  const opening = openFile(http, { ...request, headers, nowMs: clock.now(), signal });
  const { start, version, body } = await pace.wait(opening, () => 0);
  const end = request.end ?? version.totalBytes;
  let at = start;
  try {
    const reader = new BodyReader(body);
    const wantedFrom = await accept(version, start);
    const next = async (): Promise<Buffer | null> => {
      signal.throwIfAborted(); // bytes that came before it are no longer wanted
      return pace.wait(reader.next(), (chunk) => chunk?.length ?? 0);
    };
    for (let chunk = await next(); chunk !== null; chunk = await next()) {
      retries.bytesCame();
      const from = Math.max(0, wantedFrom - at);
      const to = request.end === null ? chunk.length : request.end - at;
      at += chunk.length;
      if (from < chunk.length) yield chunk.subarray(from, to);
      if (request.end !== null && at >= request.end) return;
      const debtMs = rateLimit?.spend(chunk.length) ?? 0;
      if (debtMs > 0) await sleep(clock, debtMs, signal); // not within `pace.wait`: this slowness is our own
    }
  } finally {
    discard(body);
  }
  if (end !== null && at < end) throw new LineFault("the connection ended too early");
}

/** At most this much is buffered ahead of the consumer, besides the sockets' own buffers. */
const AHEAD_BYTES = 1024 * 1024;

/**
 * Reads a body to its end, or to where it broke. A broken stream drops what is in its buffers, and its own
 * iterator leaves bytes there. On a line that breaks often those bytes would be fetched again and again, so
 * they are taken out as soon as they come.
 */
export class BodyReader {
  readonly #body: Readable;
  readonly #chunks: Buffer[] = [];
  #aheadBytes = 0;
  #over: { readonly error: Error | null } | undefined;
  #wake = (): void => undefined;

  constructor(body: Readable) {
    this.#body = body;
    body.on("data", (chunk: Buffer) => this.#add(chunk));
    body.once("error", (error) => this.#end(error));
    body.once("close", () => this.#end(null));
  }

  /**
   * The next bytes; null at the end.
   * @throws what broke the body, once all that came before it has been given
   */
  async next(): Promise<Buffer | null> {
    while (this.#chunks.length === 0 && this.#over === undefined) {
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    const chunk = this.#chunks.shift();
    if (chunk !== undefined) {
      this.#aheadBytes -= chunk.length;
      if (this.#aheadBytes < AHEAD_BYTES && this.#body.isPaused()) this.#body.resume();
      return chunk;
    }
    const error = this.#over?.error ?? null;
    if (error !== null) throw error;
    return null;
  }

  #add(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#aheadBytes += chunk.length;
    if (this.#aheadBytes >= AHEAD_BYTES) this.#body.pause();
    this.#wake();
  }

  #end(error: Error | null): void {
    this.#over ??= { error };
    this.#wake();
  }
}

/** Rates are measured over this much time spent waiting. */
const WINDOW_MS = 60_000;

/** Watches how fast a line gives; only while it is waited for, so that a slow consumer is not its fault. */
class Pace {
  readonly #line: Line;
  readonly #giveUp: (reason: Failure) => void;
  /** Time spent waiting, and the bytes that came, in the window under way. */
  #waitedMs = 0;
  #bytes = 0;
  /** The time up to which `#waitedMs` has counted. */
  #countedMs = 0;
  #cancel: Cancel | undefined;

  /** @param giveUp ends the request; its reason is a LineFault if another one may do better */
  constructor(line: Line, giveUp: (reason: Failure) => void) {
    this.#line = line;
    this.#giveUp = giveUp;
  }

  /** Waits for `work`, which brings as many bytes as `sizeOf` says; one at a time. */
  async wait<T>(work: Promise<T>, sizeOf: (result: T) => number): Promise<T> {
    const { clock, retry, retries } = this.#line;
    this.#countedMs = clock.monotonic();
    if (this.#countedMs >= retries.deadlineMs) this.#timedOut();
    this.#watch(this.#countedMs + retry.idleTimeoutMs);
    try {
      const result = await work;
      this.#bytes += sizeOf(result);
      return result;
    } finally {
      this.#cancel?.();
      this.#count();
    }
  }

  /** @param idleAtMs when the wait for the next byte has been too long */
  #watch(idleAtMs: number): void {
    const { clock, retry, retries } = this.#line;
    const dueMs = Math.min(idleAtMs, retries.deadlineMs, this.#countedMs + WINDOW_MS - this.#waitedMs);
    this.#cancel = clock.after(Math.max(0, dueMs - clock.monotonic()), () => {
      const nowMs = clock.monotonic();
      if (nowMs >= retries.deadlineMs) {
        this.#timedOut();
      } else if (nowMs >= idleAtMs) {
        this.#giveUp(new LineFault(`no byte came for ${retry.idleTimeoutMs / 1000} s`));
      } else {
        this.#count();
        this.#watch(idleAtMs);
      }
    });
  }

  #count(): void {
    const { clock, retry } = this.#line;
    const nowMs = clock.monotonic();
    this.#waitedMs += nowMs - this.#countedMs;
    this.#countedMs = nowMs;
    if (this.#waitedMs < WINDOW_MS) return;
    const rate = Math.floor(this.#bytes / (this.#waitedMs / 1000));
    this.#waitedMs = 0;
    this.#bytes = 0;
    if (rate >= retry.minRateBytesS) return;
    const text = `the server gave ${rate} bytes/s, at least ${retry.minRateBytesS} are wanted`;
    this.#giveUp(new LineFault(text, { tooSlow: true }));
  }

  #timedOut(): void {
    this.#giveUp(this.#line.retries.timedOut("the file is not complete yet"));
  }
}
