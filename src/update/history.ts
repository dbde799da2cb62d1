/**
 * The board's memory of failed updates, which survives restarts, so that the board does not try in
 * vain for ever: firmware that fails by its own fault waits an hour, then twice as long each time, up to a day;
 * firmware during whose installation the board goes down again and again waits a little. Time is counted so that a
 * board without a battery-backed clock neither waits for ever nor not at all. Firmware is known by the uuid in the file
 * as soon as that is read: an announcement could name any, so a bad file would come again under another name, and a good
 * one would wait for what was done in its name.
 */
import type { FallBack } from "../firmware/board-firmware.ts";
import type { Attempts, Journal } from "../firmware/journal.ts";
import type { Clock } from "../platform/clock.ts";
import type { Blame } from "./outcome.ts";

export interface BackOff {
  readonly delayMs: number;
  /** For the hub's users. */
  readonly reason: string;
}

const HOUR_MS = 60 * 60_000;
const LONGEST_MS = 24 * HOUR_MS;
/** After a second failure in a row that is not the firmware's fault: no hot loop, but no long wait either. */
const HINDERED_MS = 5 * 60_000;
/**
 * Firmware whose installation brings the board down must not do so without end; a power supply that fails by
 * itself must not keep a board from its update: so the first few are free, and the waits stay short.
 */
const FREE_BREAKS = 3;
const LONGEST_BREAK_MS = HOUR_MS;
const MAX_FIRMWARES = 8;
const MAX_REASON_CHARS = 300;
/** A clock that shows an earlier time has not been set since the board was powered. */
export const EARLIEST_TRUE_TIME_MS = Date.UTC(2025, 0);

export class UpdateHistory {
  /** The firmware whose update had not ended when the earlier agent did. */
  readonly interrupted: string | undefined;
  readonly #journal: Pick<Journal, "attempts" | "update">;
  readonly #clock: Clock;
  /** When each firmware's last attempt in this run of the agent ended, on the monotonic clock. */
  readonly #endedMs = new Map<string, number>();
  readonly #startedMs: number;
  #fallBackNoted = false;
  /** What the journal had before the attempt under way. */
  #before: readonly Attempts[] = [];

  constructor(journal: Pick<Journal, "attempts" | "update">, clock: Clock) {
    this.#journal = journal;
    this.#clock = clock;
    this.#startedMs = clock.monotonic();
    this.interrupted = journal.attempts.findLast(({ ended }) => ended === null)?.uuid;
  }

  async started(uuid: string): Promise<void> {
    this.#before = this.#journal.attempts;
    const attempts = this.#find(uuid);
    await this.#keep({ ...attempts, times: attempts.times + 1, ended: null });
  }

  /** The attempt under way is of other firmware than was announced: as if it had not been started. */
  async unstarted(): Promise<void> {
    await this.#journal.update({ attempts: [...this.#before] });
  }

  /** The slot is about to be written: an attempt that breaks off from here on may be the firmware's doing. */
  async writing(uuid: string): Promise<void> {
    const attempts = this.#find(uuid);
    const writingAtMs = this.#clock.now();
    await this.#keep({ ...attempts, brokenOff: attempts.brokenOff + 1, writingAtMs });
  }

  async installed(uuid: string): Promise<void> {
    await this.#end({ ...this.#find(uuid), hindrances: 0 }, "installed", "");
  }

  async failed(uuid: string, reason: string, blame: Blame): Promise<void> {
    const attempts = this.#find(uuid);
    const { failures, hindrances } = attempts;
    const counts =
      blame === "firmware"
        ? { failures: failures + 1, hindrances: 0 }
        : { failures, hindrances: hindrances + 1 };
    await this.#end({ ...attempts, ...counts }, "failed", reason);
  }

  /** Notes what the board fell back from before this agent started, if it did. */
  async noteFallBack(from: FallBack | undefined): Promise<void> {
    if (from === undefined || this.#fallBackNoted) return;
    this.#fallBackNoted = true;
    await this.fellBack(from.uuid, from.installedAtMs);
  }

  /**
   * The board fell back from it; counted once for each installation.
   * @param installedAtMs when that was, by the journal; null when it does not know
   */
  async fellBack(uuid: string, installedAtMs: number | null): Promise<void> {
    const attempts = this.#find(uuid);
    const known = attempts.ended?.result === "fell-back" && installedAtMs === null;
    if (known || (installedAtMs !== null && attempts.fellBackFromMs === installedAtMs)) return;
    const counted = { ...attempts, failures: attempts.failures + 1, fellBackFromMs: installedAtMs };
    await this.#end(counted, "fell-back", "the board fell back from this firmware: it did not prove good");
  }

  /** How long, and why, the board leaves a firmware alone from now on; undefined when it doesn't. */
  backOff(uuid: string): BackOff | undefined {
    const { ended, failures, hindrances, brokenOff, writingAtMs } = this.#corrected(this.#find(uuid));
    if (ended === null && brokenOff >= FREE_BREAKS) {
      const breakMs = Math.min(LONGEST_BREAK_MS, HINDERED_MS * 2 ** (brokenOff - FREE_BREAKS));
      const delayMs = breakMs - this.#elapsedMs(uuid, writingAtMs);
      const reason = `the board or the agent went down ${brokenOff} times in a row while it was installed`;
      return delayMs > 0 ? { delayMs, reason } : undefined;
    }
    if (ended === null || ended.result === "installed") return undefined;
    const hindered = hindrances > 1 ? HINDERED_MS : 0;
    const waitMs = hindrances > 0 ? hindered : Math.min(LONGEST_MS, HOUR_MS * 2 ** Math.max(0, failures - 1));
    const delayMs = waitMs - this.#elapsedMs(uuid, ended.atMs);
    if (delayMs <= 0) return undefined;
    const what = ended.result === "failed" ? `the last try failed: ${ended.reason}` : ended.reason;
    return { delayMs, reason: `${what} (failures: ${failures + hindrances})` };
  }

  #find(uuid: string): Attempts {
    return (
      this.#journal.attempts.find((attempts) => attempts.uuid === uuid) ?? {
        uuid,
        times: 0,
        failures: 0,
        hindrances: 0,
        brokenOff: 0,
        writingAtMs: 0,
        ended: null,
        fellBackFromMs: null,
      }
    );
  }

  /**
   * A time that a clock far ahead has left would stay in the future for years, and a board that is never on for long
   * would wait for ever. It counts from now.
   */
  #corrected(attempts: Attempts): Attempts {
    const nowMs = this.#clock.now();
    const isWrong = (ms: number): boolean => nowMs >= EARLIEST_TRUE_TIME_MS && ms > nowMs + LONGEST_MS;
    const { ended, writingAtMs } = attempts;
    if (!isWrong(writingAtMs) && (ended === null || !isWrong(ended.atMs))) return attempts;
    const corrected = {
      ...attempts,
      writingAtMs: Math.min(writingAtMs, nowMs),
      ended: ended && { ...ended, atMs: Math.min(ended.atMs, nowMs) },
    };
    void this.#keep(corrected); // the journal logs its own failures
    return corrected;
  }

  async #keep(changed: Attempts): Promise<void> {
    const others = this.#journal.attempts.filter(({ uuid }) => uuid !== changed.uuid);
    await this.#journal.update({ attempts: [...others.slice(1 - MAX_FIRMWARES), changed] });
  }

  async #end(
    attempts: Attempts,
    result: "installed" | "failed" | "fell-back",
    reason: string,
  ): Promise<void> {
    this.#endedMs.set(attempts.uuid, this.#clock.monotonic());
    const ended = { result, reason: reason.slice(0, MAX_REASON_CHARS), atMs: this.#clock.now() };
    await this.#keep({ ...attempts, brokenOff: 0, ended });
  }

  /**
   * Time since an attempt ended. Without a battery the board's clock starts again at each boot and jumps once it is
   * set, so the wall clock counts only where both of its times can be true.
   */
  #elapsedMs(uuid: string, atMs: number): number {
    const nowMs = this.#clock.now();
    const endedMs = this.#endedMs.get(uuid);
    const inThisRun = this.#clock.monotonic() - (endedMs ?? this.#startedMs);
    const plausible = atMs >= EARLIEST_TRUE_TIME_MS && nowMs >= atMs;
    return plausible && endedMs === undefined ? Math.max(inThisRun, nowMs - atMs) : inThisRun;
  }
}
