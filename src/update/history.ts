import type { Clock } from "../platform/clock.ts";
import type { Attempts, Journal } from "../firmware/journal.ts";
import type { Blame } from "./outcome.ts";

/** What is remembered of updates, also across restarts. */
export interface UpdateHistory {
  /** The firmware whose update had not ended when the agent did. */
  readonly interrupted: string | undefined;
  started(uuid: string): Promise<void>;
  /** The slot is about to be written: from here on an end without a word may be the firmware's doing. */
  writing(uuid: string): Promise<void>;
  installed(uuid: string): Promise<void>;
  failed(uuid: string, reason: string, blame: Blame): Promise<void>;
  /**
   * The board fell back from it; counted once for each installation.
   * @param installedAtMs when that was, by the journal; null when it does not know
   */
  fellBack(uuid: string, installedAtMs: number | null): Promise<void>;
  /** How long a firmware is to be left alone yet, and why; undefined when it isn't. */
  backOff(uuid: string): BackOff | undefined;
}

export interface BackOff {
  readonly delayMs: number;
  readonly reason: string;
}

const HOUR_MS = 60 * 60_000;
const LONGEST_MS = 24 * HOUR_MS;
/** After a second failure in a row that is not the firmware's fault: no hot loop, but no long wait either. */
const HINDERED_MS = 5 * 60_000;
/**
 * Firmware whose installation brings the board down each time must not do so without end; power that fails by
 * itself must not keep a board from its update: so the first few are free, and the waits stay short.
 */
const FREE_BREAKS = 3;
const LONGEST_BREAK_MS = HOUR_MS;
const MAX_FIRMWARES = 8;
const MAX_REASON_CHARS = 300;
/** A clock that shows less has not been set since the board was powered. */
const EARLIEST_TRUE_TIME_MS = Date.UTC(2025, 0);

export function createUpdateHistory(journal: Journal, clock: Clock): UpdateHistory {
  const interrupted = journal.attempts.findLast(({ ended }) => ended === null)?.uuid;
  /** When each firmware's last attempt ended by the clock that never jumps; at the latest, when this began. */
  const endedMs = new Map<string, number>();
  const beganMs = clock.monotonic();

  const find = (uuid: string): Attempts =>
    journal.attempts.find((attempts) => attempts.uuid === uuid) ?? {
      uuid,
      times: 0,
      failures: 0,
      hindrances: 0,
      brokenOff: 0,
      writingAtMs: 0,
      ended: null,
      fellBackFromMs: null,
    };

  const keep = async (changed: Attempts): Promise<void> => {
    const others = journal.attempts.filter(({ uuid }) => uuid !== changed.uuid);
    await journal.update({ attempts: [...others.slice(1 - MAX_FIRMWARES), changed] });
  };

  const end = async (
    attempts: Attempts,
    result: "installed" | "failed" | "fell-back",
    reason: string,
  ): Promise<void> => {
    endedMs.set(attempts.uuid, clock.monotonic());
    const ended = { result, reason: reason.slice(0, MAX_REASON_CHARS), atMs: clock.now() };
    await keep({ ...attempts, brokenOff: 0, ended });
  };

  /**
   * Time since an attempt ended. Without a battery the board's clock starts anew with each boot and jumps once
   * it is set: it is believed only where both of its times can be true.
   */
  const elapsedMs = (uuid: string, atMs: number): number => {
    const nowMs = clock.now();
    const inThisRun = clock.monotonic() - (endedMs.get(uuid) ?? beganMs);
    const believed = atMs >= EARLIEST_TRUE_TIME_MS && nowMs >= atMs;
    return believed && !endedMs.has(uuid) ? Math.max(inThisRun, nowMs - atMs) : inThisRun;
  };

  return {
    interrupted,
    async started(uuid) {
      const attempts = find(uuid);
      await keep({ ...attempts, times: attempts.times + 1, ended: null });
    },
    async writing(uuid) {
      const attempts = find(uuid);
      await keep({ ...attempts, brokenOff: attempts.brokenOff + 1, writingAtMs: clock.now() });
    },
    async installed(uuid) {
      await end({ ...find(uuid), hindrances: 0 }, "installed", "");
    },
    async failed(uuid, reason, blame) {
      const attempts = find(uuid);
      const { failures, hindrances } = attempts;
      const counts =
        blame === "firmware"
          ? { failures: failures + 1, hindrances: 0 }
          : { failures, hindrances: hindrances + 1 };
      await end({ ...attempts, ...counts }, "failed", reason);
    },
    async fellBack(uuid, installedAtMs) {
      const attempts = find(uuid);
      const known = attempts.ended?.result === "fell-back" && installedAtMs === null;
      if (known || (installedAtMs !== null && attempts.fellBackFromMs === installedAtMs)) return;
      const counted = { ...attempts, failures: attempts.failures + 1, fellBackFromMs: installedAtMs };
      await end(counted, "fell-back", "the board fell back from this firmware: it did not prove good");
    },
    backOff(uuid) {
      const { ended, failures, hindrances, brokenOff, writingAtMs } = find(uuid);
      if (ended === null && brokenOff >= FREE_BREAKS) {
        const breakMs = Math.min(LONGEST_BREAK_MS, HINDERED_MS * 2 ** (brokenOff - FREE_BREAKS));
        const delayMs = breakMs - elapsedMs(uuid, writingAtMs);
        const reason = `the board or the agent went down ${brokenOff} times in a row while it was installed`;
        return delayMs > 0 ? { delayMs, reason } : undefined;
      }
      if (ended === null || ended.result === "installed") return undefined;
      const hindered = hindrances > 1 ? HINDERED_MS : 0;
      const waitMs =
        hindrances > 0 ? hindered : Math.min(LONGEST_MS, HOUR_MS * 2 ** Math.max(0, failures - 1));
      const delayMs = waitMs - elapsedMs(uuid, ended.atMs);
      if (delayMs <= 0) return undefined;
      const what = ended.result === "failed" ? `the last try failed: ${ended.reason}` : ended.reason;
      return { delayMs, reason: `${what} (failures: ${failures + hindrances})` };
    },
  };
}
