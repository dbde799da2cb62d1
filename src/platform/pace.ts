/**
 * How fast something may happen: a rate limit for messages, log lines and download bytes, and the delays between
 * attempts. Delays double, and jitter spreads each of them from the first on: after an outage of the hub a whole fleet
 * would otherwise come back in the same second, and again in the next.
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
 * Delays between attempts. They double, and jitter spreads each of them from the first on: after an outage of
 * the hub a whole fleet would otherwise come back in the same second, and again in the next.
 */

export interface BackoffOptions {
  /** First delay in ms. */
  readonly minMs: number;
  /** Doubling stops here, ms. */
  readonly maxMs: number;
  /** A delay `d` becomes a random time from `d` to `d × (1 + jitter)`. */
  readonly jitter: number;
}

/** The growing delays between attempts. */
export class Backoff {
  readonly #options: BackoffOptions;
  readonly #random: () => number;
  #attempts = 0;

  /** @param random from 0 (included) to 1 (excluded), as Math.random gives it */
  constructor(options: BackoffOptions, random: () => number) {
    this.#options = options;
    this.#random = random;
  }

  /** The next delay in ms. */
  next(): number {
    const { minMs, maxMs } = this.#options;
    const delayMs = Math.min(maxMs, minMs * 2 ** this.#attempts);
    if (delayMs < maxMs) this.#attempts += 1;
    return this.#spread(delayMs);
  }

  /** The longest delay in ms, for a fault that an early attempt makes worse; does not count as an attempt. */
  longest(): number {
    return this.#spread(this.#options.maxMs);
  }

  /** Starts over with the shortest delay. */
  reset(): void {
    this.#attempts = 0;
  }

  #spread(delayMs: number): number {
    return delayMs * (1 + this.#options.jitter * this.#random());
  }
}
