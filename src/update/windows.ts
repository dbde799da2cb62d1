/** The daily windows in which updates may begin (`update.window`). Pure. */

/** One part of each day, in minutes since midnight, local time; it spans midnight when it ends before it starts. */
interface Window {
  readonly start: number;
  readonly end: number;
}

const DAY_MIN = 24 * 60;
const MINUTE_MS = 60_000;
/** The share of a window over which the starts are spread, up to MAX_SPREAD_MS. */
const SPREAD_SHARE = 0.1;
const MAX_SPREAD_MS = 10 * MINUTE_MS;

/**
 * How long an update has to wait for one of `windows`: 0 ms inside of one, or when there are none. A fleet that
 * waits for the same window does not start at the same second: each board waits for a random moment in its first
 * tenth.
 * @param windows such as "22:00-04:00", local time
 * @param nowMs wall-clock time
 * @param random from 0 to 1: where in the spread this board starts
 */
export function untilWindowMs(windows: readonly string[], nowMs: number, random: number): number {
  if (windows.length === 0) return 0;
  const parsed = windows.map(parseWindow);
  const now = new Date(nowMs);
  if (parsed.some((window) => holds(window, now.getHours() * 60 + now.getMinutes()))) return 0;
  const waits = parsed.map((window) => {
    const spreadMs = Math.min(lengthMin(window) * MINUTE_MS * SPREAD_SHARE, MAX_SPREAD_MS);
    return opening(window, now) - nowMs + Math.floor(spreadMs * random);
  });
  return Math.min(...waits);
}

function parseWindow(text: string): Window {
  const [start = 0, end = 0] = text.split("-").map((time) => {
    const [hours = 0, minutes = 0] = time.split(":").map(Number);
    return hours * 60 + minutes;
  });
  return { start, end };
}

function holds({ start, end }: Window, minute: number): boolean {
  return start < end ? start <= minute && minute < end : start <= minute || minute < end;
}

function lengthMin({ start, end }: Window): number {
  return (end - start + DAY_MIN) % DAY_MIN;
}

/** The next opening after `now`; made from the calendar, since the day on which clocks change is not 24 h long. */
function opening({ start }: Window, now: Date): number {
  for (let day = now.getDate(); ; day += 1) {
    const at = new Date(now.getFullYear(), now.getMonth(), day, Math.floor(start / 60), start % 60).getTime();
    if (at > now.getTime()) return at;
  }
}
