import { sleep, type Clock } from "../platform/clock.ts";
import type { TokenBucket } from "../platform/token-bucket.ts";
import { readBody } from "./body-reader.ts";
import { LineFault } from "./download-failure.ts";
import { createPace } from "./download-pace.ts";
import type { Retries, RetryPolicy } from "./retries.ts";
import { discard, openFile, type FileVersion, type Http } from "./http-file.ts";

/** What the requests of one download have in common. */
export interface Line {
  readonly http: Http;
  readonly retries: Retries;
  readonly retry: RetryPolicy;
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
 * @throws LineFault, also when the answer ends too early; what `accept` throws; DownloadFailure when
 *   another request won't help; errors of undici and of the system; the signal's reason
 */
export async function* requestBytes(line: Line, request: BytesRequest): AsyncGenerator<Buffer, void> {
  const { clock, retry, signal, retries } = line;
  signal?.throwIfAborted();
  const abort = new AbortController();
  const onAbort = (): void => abort.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  const pace = createPace(clock, {
    idleMs: retry.idle_timeout_s * 1000,
    minRateBytesS: retry.min_rate_bytes_s,
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
    signal?.removeEventListener("abort", onAbort);
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
      signal.throwIfAborted(); // what came ahead of it is of no use any more
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
