/** What tells whether the agent is well. */
export interface Vitals {
  /** For how long the event loop has come late each time it was looked at, ms; 0: it is in time. */
  readonly laggingForMs: number;
  /** Since the update under way last made a step, ms; undefined: there is none, or it may wait for its network. */
  readonly updateStillForMs: number | undefined;
  /** The update's own time limit has passed without a step after this, ms. */
  readonly updateLimitMs: number;
  /** Since the time was over in which the firmware on trial had to prove good, ms; undefined: it is not. */
  readonly trialOverForMs: number | undefined;
  /** How often the application's own check has failed in a row. */
  readonly checkFailures: number;
  /** Every way to reboot has been tried, and the board is still up. */
  readonly rebootFailed: boolean;
}

/** A Pi Zero is late by seconds while it is busy; an agent that is never in time for so long is sick. */
const LAGGING_LIMIT_MS = 60_000;

const CHECK_FAILURES_LIMIT = 3;

/** More than all ways to reboot take, with their usual deadlines. */
const TRIAL_LIMIT_MS = 300_000;

/**
 * Why the watchdogs must not be fed, so that they reset the board; undefined while all is well.
 *
 * An event loop that stands still feeds nothing anyway, so that it needs no rule of its own.
 */
export function reasonToStarve(vitals: Vitals): string | undefined {
  if (vitals.rebootFailed) return "the board is still up after every way to reboot it";
  if (vitals.trialOverForMs !== undefined && vitals.trialOverForMs >= TRIAL_LIMIT_MS)
    return "the firmware on trial did not prove good, and the reboot out of it does not come";
  if (vitals.laggingForMs >= LAGGING_LIMIT_MS) return "the agent has been too slow for a minute";
  if (vitals.updateStillForMs !== undefined && vitals.updateStillForMs >= vitals.updateLimitMs)
    return "the update under way neither goes on nor ends";
  if (vitals.checkFailures >= CHECK_FAILURES_LIMIT)
    return `watchdog.command has failed ${CHECK_FAILURES_LIMIT} times in a row`;
  return undefined;
}
