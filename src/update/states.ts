/**
 * The life of one update. All that can happen stands in {@link TRANSITIONS}; the engine in `update.ts`
 * does the work and moves along this table only.
 */

export type UpdateState =
  /** Nothing under way. */
  | "idle"
  /** Offered; whether, and when, to install it is being decided. Nothing was fetched. */
  | "deciding"
  /** The file's head is fetched and its metadata compared with what was announced. Nothing was written. */
  | "checking"
  /** The other slot is made invalid in a step of its own, so that nothing can boot it half-written. */
  | "clearing"
  /** Verified bytes go into fwup. */
  | "writing"
  /** All bytes but the withheld tail are with fwup and proven; it finishes, and the disk is flushed. */
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
  /** The file has changed on the way; all begins again with its first byte. */
  | "restarted"
  | "failed";

/** What the hub hears on entering the next state. */
type Announce = "received" | "started" | "ignored" | "rescheduled" | "completed" | "failed";

interface Transition {
  readonly to: UpdateState;
  readonly announce?: Announce;
}

export const TRANSITIONS: {
  readonly [state in UpdateState]: { readonly [event in UpdateEvent]?: Transition };
} = {
  idle: {
    offered: { to: "deciding", announce: "received" },
  },
  deciding: {
    accepted: { to: "checking", announce: "started" },
    ignored: { to: "idle", announce: "ignored" },
    rescheduled: { to: "idle", announce: "rescheduled" },
    failed: { to: "idle", announce: "failed" },
  },
  checking: {
    matches: { to: "clearing" },
    restarted: { to: "checking" },
    failed: { to: "idle", announce: "failed" },
  },
  clearing: {
    cleared: { to: "writing" },
    failed: { to: "idle", announce: "failed" },
  },
  writing: {
    proven: { to: "finishing" },
    restarted: { to: "checking" },
    failed: { to: "idle", announce: "failed" },
  },
  finishing: {
    installed: { to: "installed", announce: "completed" },
    failed: { to: "idle", announce: "failed" },
  },
  installed: {},
};

/**
 * The transition that `event` makes in `state`.
 * @throws Error when the table has none: a defect of the engine, never of its input
 */
export function transition(state: UpdateState, event: UpdateEvent): Transition {
  const found = TRANSITIONS[state][event];
  if (found === undefined) throw new Error(`update: nothing is ${event} while ${state}`);
  return found;
}
