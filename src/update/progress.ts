/**
 * How far an update is, and how often that is reported. fwup reports more often than a hub that shows a thousand
 * boards wants to hear.
 */
import type { Clock } from "../platform/clock.ts";

export interface Progress {
  /** `downloading` while a file is cached first; it then has percents of its own. */
  readonly stage: "downloading" | "updating";
  /** 0 to 100, whole. */
  readonly percent: number;
  readonly bytes: number;
}

/** nerves_hub_link sends no sooner than this after the last report, and only when the whole percentage grew. */
const PROGRESS_INTERVAL_MS = 500;

/**
 * Passes a percentage on when its whole part grew and the last report is old enough; the first and 100 always.
 * @param report gets whole percentages, 0 to 100
 */
export function throttleProgress(clock: Clock, report: (percent: number) => void): (percent: number) => void {
  let last = -1;
  let lastAtMs = Number.NEGATIVE_INFINITY;
  return (percent) => {
    const whole = Math.max(0, Math.min(100, Math.floor(percent)));
    if (whole <= last) return;
    if (whole < 100 && clock.monotonic() - lastAtMs < PROGRESS_INTERVAL_MS) return;
    last = whole;
    lastAtMs = clock.monotonic();
    report(whole);
  };
}
