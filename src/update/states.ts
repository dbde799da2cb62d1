/**
 * The life of one update, as one table. engine.ts does the work and moves along {@link TRANSITIONS} only, so a
 * step out of order is an error and never a half-written slot that can boot.
 */

export type UpdateState =
  /** No update is under way. */
  | "idle"
  /** Offered; whether, and when, to install it is being decided. Nothing was fetched. */
  | "deciding"
  /** The head of the file is fetched, and its metadata compared with the announcement. Nothing was written. */
  | "checking"
  /** The other slot is made invalid in a step of its own, so that nothing can boot it half-written. */
  | "clearing"
  /** Verified bytes go into fwup. */
  | "writing"
  /** fwup has all bytes, and they are proven; it finishes, and the disk is flushed. */
  | "finishing"
  /** The other slot holds the new firmware and is the active one. Only a reboot is missing. */
  | "installed";

export type UpdateEvent =
  | "offered"
  | "accepted"
  | "ignored"
  | "rescheduled"
  | "matches"
  | "cleared"
  | "proven"
  | "installed"
  /** The file changed on the server while it was fetched; the update begins again with its first byte. */
  | "restarted"
  | "failed";

/** The next state for each event that can happen in a state. */
export const TRANSITIONS: {
  readonly [state in UpdateState]: { readonly [event in UpdateEvent]?: UpdateState };
} = {
  idle: { offered: "deciding" },
  deciding: { accepted: "checking", ignored: "idle", rescheduled: "idle", failed: "idle" },
  checking: {
    ...{ matches: "clearing", restarted: "checking" },
    ...{ ignored: "idle", rescheduled: "idle", failed: "idle" },
  },
  clearing: { cleared: "writing", rescheduled: "idle", failed: "idle" },
  writing: { proven: "finishing", restarted: "checking", rescheduled: "idle", failed: "idle" },
  finishing: { installed: "installed", failed: "idle" },
  installed: {},
};

/**
 * The state after `event` in `state`.
 * @throws Error when the table has none: a defect of the engine, never of its input
 */
export function transition(state: UpdateState, event: UpdateEvent): UpdateState {
  const next = TRANSITIONS[state][event];
  if (next === undefined) throw new Error(`update: nothing is ${event} while ${state}`);
  return next;
}
