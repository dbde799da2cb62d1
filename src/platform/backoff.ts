export interface BackoffOptions {
  /** First delay in ms. */
  readonly minMs: number;
  /** Doubling stops here, ms. */
  readonly maxMs: number;
  /** A delay `d` becomes a random time from `d` to `d × (1 + jitter)`. */
  readonly jitter: number;
}

/** Delays between tries; spread by jitter from the first on, so that a fleet does not come back as one. */
export interface Backoff {
  /** The next delay in ms. */
  next(): number;
  /** The longest delay at once, for a fault that trying sooner makes worse. */
  longest(): number;
  /** Starts over with the shortest. */
  reset(): void;
}

/** @param random from 0 (included) to 1 (excluded), as Math.random gives it */
export function createBackoff(options: BackoffOptions, random: () => number): Backoff {
  let tries = 0;
  const spread = (delayMs: number): number => delayMs * (1 + options.jitter * random());
  return {
    next() {
      const delayMs = Math.min(options.maxMs, options.minMs * 2 ** tries);
      if (delayMs < options.maxMs) tries += 1;
      return spread(delayMs);
    },
    longest: () => spread(options.maxMs),
    reset() {
      tries = 0;
    },
  };
}
