import type { Clock } from "../platform/clock.ts";

/** A time to ask, as the journal keeps it. */
export interface Due {
  /** By the hub's clock, ms since 1970. */
  readonly atMs: number;
  /** How far off that was at first: a clock that was set meanwhile makes it no longer. */
  readonly delayMs: number;
}

export interface AskAgainOptions {
  /** What an earlier agent was still to ask for. */
  readonly kept: Due | null;
  /** Takes what the next agent is to be told. */
  readonly keep: (due: Due | null) => void;
  /** Whether an update is under way, or waits for its reboot. */
  readonly busy: () => boolean;
  readonly rejoin: () => void;
  /** Wall-clock ms as the hub has it: the board's own clock may be set in between. */
  readonly hubTimeMs: () => number;
  readonly clock: Clock;
  /** From 0 (included) to 1 (excluded). */
  readonly random: () => number;
}

/** NervesHub sends a rescheduled update again at the first join after its delay, and not by itself. */
export interface AskAgain {
  /** The hub is joined, which is asking as well. */
  joined(): void;
  /** The hub was told to send the update again after `delayMs`; the last time told counts. */
  after(delayMs: number): void;
  stop(): void;
}

/** The hub counts from when it read the delay, which is later than when it was sent. */
const LATER_MS = 2000;
const SPREAD_MS = 8000;
const BUSY_MS = 60_000;

/** Joins anew when a rescheduled update is due, also when the agent was started anew meanwhile. */
export function createAskAgain({
  kept,
  keep,
  busy,
  rejoin,
  hubTimeMs,
  clock,
  random,
}: AskAgainOptions): AskAgain {
  let cancel = (): void => undefined;
  let stopped = false;
  let resumed = kept;

  const arm = (delayMs: number): void => {
    cancel();
    if (stopped) return;
    cancel = clock.after(delayMs, () => {
      if (busy()) {
        arm(BUSY_MS);
        return;
      }
      keep(null);
      rejoin();
    });
  };

  return {
    joined() {
      if (resumed === null) return;
      const restMs = resumed.atMs - hubTimeMs();
      if (restMs > 0) arm(Math.min(restMs, resumed.delayMs));
      else keep(null);
      resumed = null;
    },
    after(delayMs) {
      const totalMs = delayMs + LATER_MS + Math.floor(SPREAD_MS * random());
      if (!stopped) keep({ atMs: hubTimeMs() + totalMs, delayMs: totalMs });
      arm(totalMs);
    },
    stop() {
      stopped = true;
      cancel();
    },
  };
}
