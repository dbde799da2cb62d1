/**
 * How a download goes on after a fault: when the next attempt is due, with which URL, and when to give up.
 * Attempts are counted in a row without a new byte, so that a bad line that still brings bytes is never given up.
 */
import { addAbortListener } from "node:events";
import { Backoff } from "../platform/backoff.ts";
import { type Clock, sleep } from "../platform/clock.ts";
import { Failure, failedWith, messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { VerificationFailure } from "./verify.ts";

/** `update.retry` of the configuration. */
export interface RetryPolicy {
  /** Attempts in a row without a new byte before it fails. */
  readonly attempts: number;
  /** Before the second attempt; doubles from then on. */
  readonly delayMs: number;
  /** The longest that no byte may come, connecting included. */
  readonly idleTimeoutMs: number;
  /** For all of it, on the monotonic clock. */
  readonly totalTimeoutMs: number;
  /** A connection that gives less, over a minute of waiting for it, is replaced. */
  readonly minRateBytesS: number;
}

export interface RetryOptions {
  readonly clock: Clock;
  readonly retry: RetryPolicy;
  readonly log: Log;
  readonly signal?: AbortSignal;
  /** From 0 (included) to 1 (excluded). Default: Math.random. */
  readonly random?: () => number;
  /**
   * Gets a fresh URL of the same file once one has expired. Without it, the download then fails.
   * @throws when there is none to be had; a LineFault when asking again may help
   */
  readonly renewUrl?: (signal: AbortSignal) => Promise<string>;
}

/** How one download goes on after faults; all of its connections share it. */
export interface Retries {
  /** The URL to use now. */
  readonly url: URL;
  /** On the monotonic clock. */
  readonly deadlineMs: number;
  /**
   * Waits until the next attempt is due, with a fresh URL if that is what it takes.
   * @param url the one that the attempt was made with
   * @param bytes how many of the file's bytes are there by now
   * @throws when there is to be none: `error` where trying again can't help; Failure `download_gave_up` or
   *   `download_timed_out`; the signal's reason
   */
  next(error: unknown, url: URL, bytes: number): Promise<void>;
  /** The failure of a download whose time is over. */
  timedOut(why: string): Failure;
}

const MAX_DELAY_MS = 10 * 60_000;
/** A server's Retry-After is followed up to here. */
const MAX_RETRY_AFTER_MS = 60 * 60_000;
/** A part that is wrong this often is wrong on the server. */
const MAX_PART_FETCHES = 3;
/** After this many fresh URLs in a row without a new byte, another one would not help. */
const MAX_RENEWALS = 3;
const JITTER = 0.5;

/**
 * @param bytes how many of the file's bytes are there to begin with
 * @throws Failure `download_refused` when `url` is not an http(s) URL
 */
export function createRetries(options: RetryOptions, url: string, bytes: number): Retries {
  const { clock, retry, signal, log } = options;
  const deadlineMs = clock.monotonic() + retry.totalTimeoutMs;
  const delays = { minMs: retry.delayMs, maxMs: Math.max(retry.delayMs, MAX_DELAY_MS) };
  const backoff = new Backoff({ ...delays, jitter: JITTER }, options.random ?? Math.random);
  const partFetches = new Map<number, number>();
  let current = parseUrl(url);
  let reached = bytes;
  let failures = 0;
  let renewals = 0;
  let renewing: Promise<void> | undefined;

  const timedOut = (why: string): Failure =>
    new Failure(
      "download_timed_out",
      `the download may take ${retry.totalTimeoutMs / 1000} s in all: ${why}`,
    );

  /** The fault to try again after. @throws the error when trying again can't help */
  const retryable = (error: unknown): LineFault => {
    if (error instanceof LineFault) return error;
    if (failedWith(error, "proxy_failed")) return new LineFault(error.message, { cause: error });
    if (error instanceof VerificationFailure && error.part !== undefined) {
      const fetches = (partFetches.get(error.part) ?? 0) + 1;
      partFetches.set(error.part, fetches);
      if (fetches < MAX_PART_FETCHES) return new LineFault(error.message, { cause: error });
    }
    if (systemCode(error) === undefined) throw error;
    return new LineFault(messageOf(error) || String(systemCode(error)), { cause: error });
  };

  const waitForNext = async (error: unknown): Promise<void> => {
    const fault = retryable(error);
    failures += 1;
    if (failures >= retry.attempts) {
      const text = `the download got no further in ${failures} attempts; the last one: ${fault.message}`;
      throw new Failure("download_gave_up", text, { cause: error });
    }
    const delayMs = Math.max(backoff.next(), Math.min(fault.retryAfterMs, MAX_RETRY_AFTER_MS));
    if (clock.monotonic() + delayMs >= deadlineMs) throw timedOut(fault.message);
    log.warn(`download interrupted, trying again: ${fault.message}`, {
      bytes: reached,
      failures,
      delay_s: Math.round(delayMs / 1000),
    });
    await sleep(clock, delayMs, signal);
  };

  const renew = async (expired: Failure): Promise<void> => {
    renewals += 1;
    if (options.renewUrl === undefined || renewals > MAX_RENEWALS) throw expired;
    log.info(`asking the hub for a fresh URL: ${expired.message}`, { bytes: reached });
    const call = new AbortController();
    using _listener = signal && addAbortListener(signal, () => call.abort(signal.reason));
    const cancel = clock.after(deadlineMs - clock.monotonic(), () =>
      call.abort(timedOut("no fresh URL came")),
    );
    try {
      current = parseUrl(await options.renewUrl(call.signal));
    } finally {
      cancel();
    }
  };

  return {
    get url() {
      return current;
    },
    deadlineMs,
    timedOut,
    async next(error, used, bytesNow) {
      signal?.throwIfAborted();
      if (bytesNow > reached && !(error instanceof LineFault && error.tooSlow)) {
        failures = 0;
        renewals = 0;
        backoff.reset();
      }
      reached = Math.max(reached, bytesNow);
      if (!failedWith(error, "url_expired")) {
        await waitForNext(error);
      } else if (used === current) {
        try {
          await (renewing ??= renew(error));
        } catch (failure) {
          signal?.throwIfAborted();
          await waitForNext(failure);
        } finally {
          renewing = undefined;
        }
      }
    },
  };
}

function parseUrl(text: string): URL {
  if (URL.canParse(text)) {
    const url = new URL(text);
    if (url.protocol === "https:" || url.protocol === "http:") return url;
  }
  throw new Failure("download_refused", "the firmware's URL is not an http(s) URL");
}

/** What went wrong with one attempt; trying again may help. */
export class LineFault extends Failure {
  /** How long the server asks to stay away, ms. */
  readonly retryAfterMs: number;
  /** True when bytes came, but too slowly to count as headway. */
  readonly tooSlow: boolean;
  /** True when the server says that the file has no byte where it was asked for one. */
  readonly pastEnd: boolean;

  constructor(message: string, options: LineFaultOptions = {}) {
    const { retryAfterMs = 0, tooSlow = false, pastEnd = false, ...rest } = options;
    super("download_interrupted", message, rest);
    this.name = "LineFault";
    this.retryAfterMs = retryAfterMs;
    this.tooSlow = tooSlow;
    this.pastEnd = pastEnd;
  }
}

interface LineFaultOptions extends ErrorOptions {
  readonly retryAfterMs?: number;
  readonly tooSlow?: boolean;
  readonly pastEnd?: boolean;
}
