import { createBackoff } from "../platform/backoff.ts";
import { sleep, type Clock } from "../platform/clock.ts";
import { messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { DownloadFailure, LineFault } from "./download-failure.ts";
import { createPace } from "./download-pace.ts";
import { discard, openFile, openHttp, type FileVersion, type Http } from "./http-file.ts";
import { VerificationFailure, type Verifier } from "./verify.ts";

/** `update.retry` of the configuration. */
export interface RetryPolicy {
  /** Attempts in a row without a new byte before it fails. */
  readonly attempts: number;
  /** Before the second attempt; doubles from then on. */
  readonly delay_s: number;
  /** The longest that no byte may come, connecting included. */
  readonly idle_timeout_s: number;
  /** For all of it, on the monotonic clock. */
  readonly total_timeout_s: number;
  /** A connection that gives less, over a minute of waiting for it, is replaced. */
  readonly min_rate_bytes_s: number;
}

export interface Retry {
  /** One line, without URLs. */
  readonly reason: string;
  /** Attempts in a row without a new byte. */
  readonly failures: number;
  readonly delayMs: number;
  /** Where in the file it will go on. */
  readonly offset: number;
}

export interface DownloadOptions {
  readonly url: string;
  /** Where the bytes go through; the download starts, and after a fault goes on, at its `offset`. */
  readonly verifier: Verifier;
  readonly clock: Clock;
  readonly retry: RetryPolicy;
  readonly log: Log;
  readonly signal?: AbortSignal;
  /** PEM; whom to trust instead of Node's built-in list. */
  readonly ca?: readonly string[];
  /** Sent to the URL's own origin only, not to where it redirects. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The state of the file that the bytes before the verifier's offset are of. */
  readonly version?: FileVersion;
  /** From 0 (included) to 1 (excluded). Default: Math.random. */
  readonly random?: () => number;
  readonly onRetry?: (retry: Retry) => void;
  /** Gets the address of this end of each new connection. */
  readonly onConnect?: (localAddress: string) => void;
  /** Gets the state of the file as soon as the server has told it. */
  readonly onVersion?: (version: FileVersion) => void;
}

const MAX_DELAY_MS = 10 * 60_000;
/** A server's Retry-After is followed up to here. */
const MAX_RETRY_AFTER_MS = 60 * 60_000;
/** A part that is wrong this often is wrong on the server. */
const MAX_PART_FETCHES = 3;
const JITTER = 0.5;

/**
 * Fetches a file over HTTP and gives its proven bytes (see {@link Verifier}, also for how long a chunk
 * stays valid). Takes from the line only what the consumer asks for. What interrupts it is tried again
 * from the position reached on, until too many attempts in a row bring no new byte.
 * @throws DownloadFailure; VerificationFailure; the signal's reason
 */
export async function* download(options: DownloadOptions): AsyncGenerator<Uint8Array, void> {
  const { clock, retry, verifier, signal, log } = options;
  signal?.throwIfAborted();
  const url = parseUrl(options.url);
  const deadlineMs = clock.monotonic() + retry.total_timeout_s * 1000;
  const delays = { minMs: retry.delay_s * 1000, maxMs: Math.max(retry.delay_s * 1000, MAX_DELAY_MS) };
  const backoff = createBackoff({ ...delays, jitter: JITTER }, options.random ?? Math.random);
  const http = await openHttp(options);
  const attempt: Attempt = { ...options, url, http, deadlineMs, version: options.version ?? null };
  const partFetches = new Map<number, number>();
  let reached = verifier.offset;
  let failures = 0;
  try {
    for (;;) {
      try {
        yield* runAttempt(attempt);
        return;
      } catch (error) {
        signal?.throwIfAborted();
        const fault = retryable(error, verifier, partFetches);
        if (verifier.offset > reached && !fault.tooSlow) {
          failures = 0;
          backoff.reset();
        }
        reached = Math.max(reached, verifier.offset);
        failures += 1;
        if (failures >= retry.attempts) {
          const text = `the download got no further in ${failures} attempts; the last one: ${fault.message}`;
          throw new DownloadFailure("gave-up", text, { cause: error });
        }
        const delayMs = Math.max(backoff.next(), Math.min(fault.retryAfterMs, MAX_RETRY_AFTER_MS));
        if (clock.monotonic() + delayMs >= deadlineMs) throw timedOut(retry, fault.message);
        const news: Retry = { reason: fault.message, failures, delayMs, offset: verifier.offset };
        log.warn(`download interrupted, trying again: ${fault.message}`, {
          offset: news.offset,
          failures,
          delay_s: Math.round(delayMs / 1000),
        });
        options.onRetry?.(news);
        await sleep(clock, delayMs, signal);
      }
    }
  } finally {
    await http.close();
  }
}

interface Attempt extends Omit<DownloadOptions, "url" | "version"> {
  readonly url: URL;
  readonly http: Http;
  readonly deadlineMs: number;
  /** The state of the file that the bytes so far are of; null before the first answer. */
  version: FileVersion | null;
}

/** One request, from the verifier's offset to the end of the file. */
async function* runAttempt(attempt: Attempt): AsyncGenerator<Uint8Array, void> {
  const { verifier, signal, retry, clock } = attempt;
  signal?.throwIfAborted();
  const totalBytes = verifier.expected.sizeBytes ?? attempt.version?.totalBytes;
  if (totalBytes === undefined || totalBytes === null || verifier.offset < totalBytes) {
    const abort = new AbortController();
    const onAbort = (): void => abort.abort(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    const pace = createPace(clock, {
      idleMs: retry.idle_timeout_s * 1000,
      minRateBytesS: retry.min_rate_bytes_s,
      deadlineMs: attempt.deadlineMs,
      onFault: (fault) => abort.abort(fault),
      onDeadline: () => abort.abort(timedOut(retry, "the file is not complete yet")),
    });
    try {
      yield* fetchRest(attempt, pace.wait, abort.signal);
    } catch (error) {
      abort.signal.throwIfAborted(); // undici may wrap the reason
      throw error;
    } finally {
      pace.stop();
      signal?.removeEventListener("abort", onAbort);
    }
  }
  yield* verifier.end();
}

async function* fetchRest(
  attempt: Attempt,
  wait: <T>(work: Promise<T>, sizeOf: (result: T) => number) => Promise<T>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  const { http, url, headers = {}, verifier, clock } = attempt;
  const { offset } = verifier;
  const request = { url, offset, version: attempt.version, headers, nowMs: clock.now(), signal };
  const { start, version, body } = await wait(openFile(http, request), () => 0);
  try {
    goOnWith(attempt, start, version);
    const chunks: AsyncIterator<Buffer, unknown> = body[Symbol.asyncIterator]();
    const next = async (): Promise<IteratorResult<Buffer, unknown>> =>
      wait(chunks.next(), (result) => (result.done === true ? 0 : result.value.length));
    for (let chunk = await next(); chunk.done !== true; chunk = await next()) {
      yield* verifier.push(chunk.value);
    }
  } finally {
    discard(body);
  }
  const complete = version.totalBytes ?? verifier.expected.sizeBytes;
  if (complete !== null && verifier.offset < complete) throw new LineFault("the connection ended too early");
}

/** Makes sure that the bytes to come continue those that came; starts over where that is possible. */
function goOnWith(attempt: Attempt, start: number, version: FileVersion): void {
  const { verifier } = attempt;
  const changed = attempt.version !== null && isAnother(version, attempt.version);
  if (changed || start !== verifier.offset) {
    if (verifier.passedBytes > 0) {
      const what = changed
        ? "the file on the server has changed"
        : "the server does not go on within the file";
      throw new DownloadFailure(
        "file-changed",
        `${what}, and part of it is written already; start the update again`,
      );
    }
    attempt.version = null;
    verifier.restart();
    if (start !== 0) throw new LineFault("the file on the server has changed; starting over");
  }
  attempt.version ??= version;
  attempt.onVersion?.(version);
}

function isAnother(now: FileVersion, before: FileVersion): boolean {
  const differ = <T>(a: T | null, b: T | null): boolean => a !== null && b !== null && a !== b;
  const strong = (etag: string | null): string | null => etag?.replace(/^W\//, "") ?? null;
  return differ(strong(now.etag), strong(before.etag)) || differ(now.totalBytes, before.totalBytes);
}

/** The fault to try again after. @throws the error when trying again can't help */
function retryable(error: unknown, verifier: Verifier, partFetches: Map<number, number>): LineFault {
  if (error instanceof LineFault) return error;
  if (error instanceof VerificationFailure && error.fault === "part") {
    const fetches = (partFetches.get(verifier.offset) ?? 0) + 1;
    partFetches.set(verifier.offset, fetches);
    if (fetches < MAX_PART_FETCHES) return new LineFault(error.message, { cause: error });
  }
  if (systemCode(error) === undefined) throw error;
  return new LineFault(messageOf(error) || String(systemCode(error)), { cause: error });
}

function timedOut({ total_timeout_s: seconds }: RetryPolicy, why: string): DownloadFailure {
  return new DownloadFailure("timed-out", `the download may take ${seconds} s in all: ${why}`);
}

function parseUrl(text: string): URL {
  if (URL.canParse(text)) {
    const url = new URL(text);
    if (url.protocol === "https:" || url.protocol === "http:") return url;
  }
  throw new DownloadFailure("refused", "the firmware's URL is not an http(s) URL");
}
