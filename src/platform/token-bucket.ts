import type { Clock } from "./clock.ts";

/** Lets so many through in a second, and a burst after a pause. */
export interface TokenBucket {
  /** False when there have been too many lately. */
  take(): boolean;
  /** Takes so many in any case; returns how long to wait, in ms, until they are earned. */
  spend(count: number): number;
}

/** Starts full. */
export function createTokenBucket(
  rate: { readonly perSecond: number; readonly burst: number },
  clock: Pick<Clock, "monotonic">,
): TokenBucket {
  let tokens = rate.burst;
  let countedMs = clock.monotonic();
  const refill = (): void => {
    const nowMs = clock.monotonic();
    tokens = Math.min(rate.burst, tokens + ((nowMs - countedMs) / 1000) * rate.perSecond);
    countedMs = nowMs;
  };
  return {
    take() {
      refill();
      if (tokens < 1) return false;
      tokens -= 1;
      return true;
    },
    spend(count) {
      refill();
      tokens -= count;
      return Math.max(0, (-tokens / rate.perSecond) * 1000);
    },
  };
}
