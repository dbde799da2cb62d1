import type { Clock } from "../platform/clock.ts";

/** nerves_hub_link sends progress no closer than this, and only when the whole percentage grew. */
const MIN_INTERVAL_MS = 500;

/**
 * Lets a whole percentage through when it grew and the last one is long enough ago; the first and 100
 * always. `report` gets what passes.
 */
export function throttleProgress(clock: Clock, report: (percent: number) => void): (percent: number) => void {
  let last = -1;
  let lastAtMs = Number.NEGATIVE_INFINITY;
  return (percent) => {
    const whole = Math.max(0, Math.min(100, Math.floor(percent)));
    if (whole <= last) return;
    if (whole < 100 && clock.monotonic() - lastAtMs < MIN_INTERVAL_MS) return;
    last = whole;
    lastAtMs = clock.monotonic();
    report(whole);
  };
}
