/**
 * The rate limit of messages, log lines and download bytes: a number per second, and a burst after a pause.
 */
import type { Clock } from "./clock.ts";

export interface TokenRate {
  readonly perSecond: number;
  /** Tokens saved up at most. */
  readonly burst: number;
}

/** Starts full. */
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
