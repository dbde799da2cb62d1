/**
 * How a download goes on after a fault: when the next attempt is due, with which URL, and when to give up.
 * Attempts are counted in a row without a new byte, so that a bad line that still brings bytes is never given up.
 */
import { addAbortListener } from "node:events";
import type { Config } from "../config/schema.ts";
import { Backoff } from "../platform/pace.ts";
import { type Clock, sleep } from "../platform/clock.ts";
import { Failure, failedWith, messageOf, systemCode } from "../platform/failure.ts";
import { type Log, redact } from "../platform/log.ts";
import { VerificationFailure } from "./verify.ts";

export interface RetryOptions {
  readonly clock: Clock;
  readonly retry: Config["update"]["retry"];
  readonly log: Log;
  readonly signal?: AbortSignal;
  /** A number from 0 (included) to 1 (excluded). Default: Math.random. */
  readonly random?: () => number;
  /**
   * Gets a fresh URL of the same file once one has expired. Without it, the download then fails.
   * @throws when there is none to be had; a LineFault when asking again may help
   */
  readonly renewUrl?: (signal: AbortSignal) => Promise<string>;
  /** Learns that the download waits, and undefined once bytes come again. */
  readonly onWaiting?: (wait: DownloadWait | undefined) => void;
  /** Gives up when no byte has come for this long, since a person waits for it. Default: only after the attempts. */
  readonly firstByteMs?: number;
}

/** Why a download waits. */
export interface DownloadWait {
  /** One line for people, redacted. */
  readonly reason: string;
  /** Until the next attempt. */
  readonly delayMs: number;
}

const MAX_DELAY_MS = 10 * 60_000;
/** A server's Retry-After is followed up to here. */
const MAX_RETRY_AFTER_MS = 60 * 60_000;
/** A part that is wrong this often is wrong on the server. */
const MAX_PART_FETCHES = 3;
/** After this many fresh URLs in a row without a new byte, another one would not help. */
const MAX_RENEWALS = 3;
/**
 * Each delay is drawn from 0 to this many times its average: the downloads that a server's restart cut off all at
 * once go on one after the other, and a download waits as long in all as without chance.
 */
const SPREAD = 2;

/** How one download goes on after faults; all of its connections share it. */
export class Retries {
  /** On the monotonic clock. */
  readonly deadlineMs: number;
  readonly #options: RetryOptions;
  readonly #backoff: Backoff;
  /** How often each part came wrong. */
  readonly #wrongParts = new Map<number, number>();
  #url: URL;
  /** The most bytes of the file that were there. */
  #reached: number;
  /** When to give up, on the monotonic clock, if no byte has come by then. */
  #firstByteByMs: number;
  #waiting = false;
  /** Failed attempts in a row without a new byte. */
  #failures = 0;
  /** Fresh URLs in a row without a new byte. */
  #renewals = 0;
  /** All connections wait for one fresh URL. */
  #renewing: Promise<void> | undefined;

  /**
   * @param bytes how many of the file's bytes are there to begin with
   * @throws Failure `download_refused` when `url` is not an http(s) URL
   */
  constructor(options: RetryOptions, url: string, bytes: number) {
    const { clock, retry, random = Math.random } = options;
    const maxMs = Math.max(retry.delayMs, MAX_DELAY_MS);
    this.#options = options;
    this.#backoff = new Backoff({ minMs: SPREAD * retry.delayMs, maxMs: SPREAD * maxMs, jitter: 1 }, random);
    this.deadlineMs = clock.monotonic() + retry.totalTimeoutMs;
    this.#firstByteByMs = clock.monotonic() + (options.firstByteMs ?? Number.POSITIVE_INFINITY);
    this.#url = parseUrl(url);
    this.#reached = bytes;
  }

  /** The URL to use now. */
  get url(): URL {
    return this.#url;
  }

  /**
   * Waits until the next attempt is due, with a fresh URL if that is what it takes.
   * @param url the one that the attempt was made with
   * @param bytes how many of the file's bytes are there now
   * @throws when there is to be none: `error` where trying again can't help; Failure `download_gave_up` or
   *   `download_timed_out`; the signal's reason
   */
  async next(error: unknown, url: URL, bytes: number): Promise<void> {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    if (bytes > this.#reached && !(error instanceof LineFault && error.tooSlow)) {
      this.#failures = 0;
      this.#renewals = 0;
      this.#backoff.reset();
    }
    this.#reached = Math.max(this.#reached, bytes);
    if (!failedWith(error, "url_expired")) {
      await this.#wait(error);
    } else if (url === this.#url) {
      try {
        await (this.#renewing ??= this.#renew(error));
      } catch (failure) {
        signal?.throwIfAborted();
        await this.#wait(failure);
      } finally {
        this.#renewing = undefined;
      }
    }
  }

  /** Notes that bytes come. */
  bytesCame(): void {
    this.#firstByteByMs = Number.POSITIVE_INFINITY;
    if (!this.#waiting) return;
    this.#waiting = false;
    this.#options.onWaiting?.(undefined);
  }

  /** The failure of a download whose time is over. */
  timedOut(why: string): Failure {
    const seconds = this.#options.retry.totalTimeoutMs / 1000;
    return new Failure("download_timed_out", `the download may take ${seconds} s in all: ${why}`);
  }

  /**
   * Waits for the backoff's delay, after the time that the server asks for. It tells all boards the same time, and
   * they would come back in the same second.
   */
  async #wait(error: unknown): Promise<void> {
    const { clock, retry, log, signal } = this.#options;
    const fault = this.#retryable(error);
    this.#failures += 1;
    if (this.#failures >= retry.attempts) {
      const text = `the download got no further in ${this.#failures} attempts; the last one: ${fault.message}`;
      throw new Failure("download_gave_up", text, { cause: error });
    }
    const delayMs = Math.min(fault.retryAfterMs, MAX_RETRY_AFTER_MS) + this.#backoff.next();
    if (clock.monotonic() + delayMs >= this.deadlineMs) throw this.timedOut(fault.message);
    if (clock.monotonic() + delayMs >= this.#firstByteByMs) {
      const text = `no byte came in ${this.#failures} attempts; the last one: ${fault.message}`;
      throw new Failure("download_gave_up", text, { cause: error });
    }
    log.warn(`download interrupted, trying again: ${fault.message}`, {
      bytes: this.#reached,
      failures: this.#failures,
      delay_s: Math.round(delayMs / 1000),
    });
    this.#noteWaiting(fault.message, delayMs);
    await sleep(clock, delayMs, signal);
  }

  #noteWaiting(reason: string, delayMs: number): void {
    this.#waiting = true;
    this.#options.onWaiting?.({ reason: redact(reason), delayMs });
  }

  /** The fault to try again after. @throws the error when trying again can't help */
  #retryable(error: unknown): LineFault {
    if (error instanceof LineFault) return error;
    if (failedWith(error, "proxy_failed")) return new LineFault(error.message, { cause: error });
    if (error instanceof VerificationFailure && error.part !== undefined) {
      const fetches = (this.#wrongParts.get(error.part) ?? 0) + 1;
      this.#wrongParts.set(error.part, fetches);
      if (fetches < MAX_PART_FETCHES) return new LineFault(error.message, { cause: error });
    }
    if (systemCode(error) === undefined) throw error;
    return new LineFault(messageOf(error) || String(systemCode(error)), { cause: error });
  }

  async #renew(expired: Failure): Promise<void> {
    const { clock, log, renewUrl, signal } = this.#options;
    this.#renewals += 1;
    if (renewUrl === undefined || this.#renewals > MAX_RENEWALS) throw expired;
    log.info(`asking the hub for a fresh URL: ${expired.message}`, { bytes: this.#reached });
    this.#noteWaiting(`a fresh URL of the hub: ${expired.message}`, 0);
    const call = new AbortController();
    using _listener = signal && addAbortListener(signal, () => call.abort(signal.reason));
    const cancel = clock.after(this.deadlineMs - clock.monotonic(), () =>
      call.abort(this.timedOut("no fresh URL came")),
    );
    try {
      this.#url = parseUrl(await renewUrl(call.signal));
    } finally {
      cancel();
    }
  }
}

function parseUrl(text: string): URL {
  if (URL.canParse(text)) {
    const url = new URL(text);
    if (url.protocol === "https:" || url.protocol === "http:") return url;
  }
  throw new Failure("download_refused", "the firmware's URL is not an http(s) URL");
}

/** A failure of one attempt; another attempt may succeed. */
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
