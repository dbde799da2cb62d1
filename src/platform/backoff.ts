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
