/**
 * How fast something may happen: a rate limit for messages, log lines and download bytes, and the delays between
 * attempts. Delays double, and each of them is random: after a restart of the hub 10,000 boards came back within half
 * a second, since the first delay was from 1.0 to 1.5 s.
 */
import type { Clock } from "./clock.ts";

export interface TokenRate {
  readonly perSecond: number;
  /** Tokens saved up at most. */
  readonly burst: number;
}

/** A number of tokens per second, and a burst after a pause. Starts full. */
export class TokenBucket {
  readonly #rate: TokenRate;
  readonly #clock: Pick<Clock, "monotonic">;
  #tokens: number;
  #countedMs: number;

  constructor(rate: TokenRate, clock: Pick<Clock, "monotonic">) {
    this.#rate = rate;
    this.#clock = clock;
    this.#tokens = rate.burst;
    this.#countedMs = clock.monotonic();
  }

  /** Takes one token; false when none is left. */
  take(): boolean {
    this.#refill();
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /**
   * Takes `count` tokens even when fewer are left, for bytes that have already arrived.
   * @returns how long to wait until the debt is earned, ms
   */
  spend(count: number): number {
    this.#refill();
    this.#tokens -= count;
    return Math.max(0, (-this.#tokens / this.#rate.perSecond) * 1000);
  }

  #refill(): void {
    const nowMs = this.#clock.monotonic();
    const earned = ((nowMs - this.#countedMs) / 1000) * this.#rate.perSecond;
    this.#tokens = Math.min(this.#rate.burst, this.#tokens + earned);
    this.#countedMs = nowMs;
  }
}

/**
 * Holds back what a peer causes too often (lines of the log, answers to nonsense), and counts it. The first ones of a
 * flood say what is wrong; the thousands after them only bury the rest.
 */
export class Limiter {
  readonly #bucket: TokenBucket;
  #heldBack = 0;

  constructor(rate: TokenRate, clock: Pick<Clock, "monotonic">) {
    this.#bucket = new TokenBucket(rate, clock);
  }

  /** @returns how many were held back since the last one that was let through; undefined when this one is held back */
  pass(): number | undefined {
    if (!this.#bucket.take()) {
      this.#heldBack += 1;
      return undefined;
    }
    const count = this.#heldBack;
    this.#heldBack = 0;
    return count;
  }
}

export interface BackoffOptions {
  /** The first delay is at most this, ms. */
  readonly minMs: number;
  /** No delay is longer, ms. */
  readonly maxMs: number;
  /** The share of each delay that is random: a delay is drawn from `d × (1 - jitter)` to `d`. */
  readonly jitter: number;
  /** After something that held, the first delay is drawn from 0 to this, but not beyond `maxMs`. Default: `minMs`. */
  readonly spreadMs?: number;
}

/** The growing delays between attempts. */
export class Backoff {
  readonly #options: BackoffOptions;
  readonly #random: () => number;
  /** The longest that the next delay may be. */
  #ceilingMs: number;
  /** The next delay is the first after something that held. */
  #held = false;

  /** @param random from 0 (included) to 1 (excluded), as Math.random gives it */
  constructor(options: BackoffOptions, random: () => number) {
    this.#options = options;
    this.#random = random;
    this.#ceilingMs = Math.min(options.minMs, options.maxMs);
  }

  /** The next delay in ms. */
  next(): number {
    const { maxMs, jitter } = this.#options;
    const delayMs = this.#draw(this.#ceilingMs, this.#held ? 1 : jitter);
    this.#ceilingMs = Math.min(maxMs, this.#ceilingMs * 2);
    this.#held = false;
    return delayMs;
  }

  /**
   * A long delay in ms, for a fault that an early attempt makes worse: at least half of the longest. It does not
   * count as an attempt.
   */
  longest(): number {
    return this.#draw(this.#options.maxMs, 0.5);
  }

  /**
   * Starts over after something that held. The delays double from the spread on: shorter ones would have the boards
   * that tried too early come back together with those that had not tried yet.
   */
  reset(): void {
    const { minMs, maxMs, spreadMs = minMs } = this.#options;
    this.#ceilingMs = Math.min(maxMs, Math.max(minMs, spreadMs));
    this.#held = true;
  }

  #draw(longestMs: number, jitter: number): number {
    return longestMs * (1 - jitter * this.#random());
  }
}

/**
 * How long a server asks to stay away, ms; 0 when it does not. RFC 9110 §10.2.3: seconds, or a date, which is taken
 * relative to the server's own.
 * @param value Retry-After
 * @param date the server's Date
 * @param nowMs wall clock, where the server sent no Date
 */
export function retryAfterMs(value: string | undefined, date: string | undefined, nowMs: number): number {
  if (value === undefined) return 0;
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const serverMs = Date.parse(date ?? "");
  const waitMs = Date.parse(value) - (Number.isNaN(serverMs) ? nowMs : serverMs);
  return Number.isNaN(waitMs) ? 0 : Math.max(0, waitMs);
}
