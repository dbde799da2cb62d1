/**
 * Time on a board that may start in 1970. Without it every certificate seems not yet valid, and the board
 * never reaches its hub. The clock moves forward to the time kept in the state folder or the build date; where the
 * system does not let the agent set it, the agent counts on by itself.
 *
 * Only the hub's time, and what passed since, gets into the file: a system clock that jumps into the future by
 * mistake would stay there for good.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, LATEST_DATE_MS } from "../platform/clock.ts";
import { messageOf, systemCode } from "../platform/failure.ts";
import { writeFileAtomic } from "../platform/files.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";

export interface ClockGuardOptions {
  /** False: the clock is used as it is. */
  readonly enabled: boolean;
  readonly stateDir: string;
  /** No time can be earlier; ms since 1970. */
  readonly buildDateMs: number;
  /** Has the system's clock. With a root other than `/`, that clock is not the board's and is never set. */
  readonly world: World;
  readonly log: Log;
}

const FILE = "last-known-time";
const HOUR_MS = 3_600_000;
/** How often the agent checks whether somebody has set the clock, while there is a doubt. */
const DOUBT_POLL_MS = 5000;
/** A clock that nobody set may drift or be rounded by this much. */
const TOLERANCE_MS = 60_000;
const SET_TIMEOUT_MS = 5000;

/** Keeps the agent's clock from running behind the time that is known to have passed. */
export class ClockGuard {
  /** Never behind the time that is known to have passed, even if the system's clock is. */
  readonly clock: Clock;
  readonly #options: ClockGuardOptions;
  readonly #system: Clock;
  readonly #path: string;
  /** The time in the file. */
  #persistedMs: number;
  #known: { readonly ms: number; readonly atMonotonicMs: number };
  #hubTimeKnown = false;
  /** The system's clock had to be helped, and is only as good as the file that the time came from. */
  #helped = false;
  #persisting = Promise.resolve();
  #cancelPoll = (): void => undefined;

  private constructor(options: ClockGuardOptions, persistedMs: number) {
    const system = options.world.clock;
    this.#options = options;
    this.#system = system;
    this.#path = join(options.stateDir, FILE);
    this.#persistedMs = persistedMs;
    this.#known = { ms: Math.max(options.buildDateMs, persistedMs), atMonotonicMs: system.monotonic() };
    this.clock = options.enabled
      ? {
          now: () => Math.max(system.now(), Math.ceil(this.#knownNow())),
          monotonic: () => system.monotonic(),
          after: (delayMs, task) => system.after(delayMs, task),
        }
      : system;
  }

  /** Reads the kept time, and moves the system's clock forward if it is behind. */
  static async open(options: ClockGuardOptions): Promise<ClockGuard> {
    const { enabled, stateDir, log } = options;
    const guard = new ClockGuard(options, enabled ? await readPersisted(join(stateDir, FILE), log) : 0);
    if (enabled && guard.#isBehind()) await guard.#help();
    return guard;
  }

  /** Why certificates may seem not yet valid though they are: TLS judges by the system's clock. */
  get doubt(): string | undefined {
    if (!this.#options.enabled) return undefined;
    const now = isoTime(this.#system.now());
    if (this.#isBehind())
      return `the board's clock says ${now}, but it is at least ${isoTime(this.#knownNow())}`;
    const untouched =
      this.#helped && !this.#hubTimeKnown && this.#system.now() < this.#knownNow() + TOLERANCE_MS;
    return untouched ? `the board's clock says ${now}, which is only the last time it knew` : undefined;
  }

  /** Corrects the known time by that of a hub whose certificate was verified; ms since 1970. */
  noteHubTime(hubMs: number): void {
    if (!this.#options.enabled) return;
    this.#hubTimeKnown = true;
    const ms = Math.max(this.#options.buildDateMs, hubMs);
    this.#known = { ms, atMonotonicMs: this.#system.monotonic() };
    this.#persist(HOUR_MS); // now if the file is old: the power may fail before an hour is over
  }

  /**
   * Writes the time to the state folder every hour.
   * @param onSet called when there was a doubt about the system's clock, and somebody has set it
   */
  start(onSet: () => void): void {
    if (!this.#options.enabled) return;
    const pollMs = this.doubt === undefined ? HOUR_MS : DOUBT_POLL_MS;
    this.#cancelPoll = this.#system.after(pollMs, () => {
      this.#persist(HOUR_MS);
      if (pollMs === DOUBT_POLL_MS && this.doubt === undefined && !this.#hubTimeKnown) {
        this.#options.log.info("the board's clock was set", { to: isoTime(this.#system.now()) });
        onSet();
      }
      this.start(onSet);
    });
  }

  /** Writes the time for the next start. */
  async stop(): Promise<void> {
    if (!this.#options.enabled) return;
    this.#cancelPoll();
    this.#persist(TOLERANCE_MS);
    await this.#persisting;
  }

  #knownNow(): number {
    return this.#known.ms + this.#system.monotonic() - this.#known.atMonotonicMs;
  }

  #isBehind(): boolean {
    return this.#system.now() < this.#knownNow() - TOLERANCE_MS;
  }

  async #help(): Promise<void> {
    const { log, world } = this.#options;
    const before = isoTime(this.#system.now());
    const problem = await setSystemClock(this.#known.ms, world);
    this.#helped = true;
    if (problem === undefined)
      log.warn("the board's clock was behind the last known time, and is moved forward", {
        from: before,
        to: isoTime(this.#system.now()),
      });
    else
      log.error(`the board's clock is behind and can't be set: ${problem}; the agent counts on by itself`, {
        clock: before,
        at_least: isoTime(this.#known.ms),
      });
  }

  /** One write at a time; none while the file is no more than `minAdvanceMs` old. */
  #persist(minAdvanceMs: number): void {
    this.#persisting = this.#persisting.then(async () => {
      const ms = this.#knownNow();
      if (Math.abs(ms - this.#persistedMs) < minAdvanceMs || ms <= this.#options.buildDateMs) return;
      this.#persistedMs = ms;
      try {
        await writeFileAtomic(this.#path, `${isoTime(ms)}\n`);
      } catch (error) {
        this.#options.log.warn(`the time can't be kept for the next start: ${messageOf(error)}`, {
          path: this.#path,
        });
      }
    });
  }
}

/** The file is plain text, so that a person can read and set it. @returns 0 when there is no usable time */
async function readPersisted(path: string, log: Log): Promise<number> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) !== "ENOENT")
      log.warn(`the last known time can't be read: ${messageOf(error)}`, { path });
    return 0;
  }
  const ms = Date.parse(text.trim());
  if (ms > 0 && ms < LATEST_DATE_MS) return ms;
  log.warn("the last known time is damaged", { path });
  return 0;
}

/**
 * By `date`, since Node.js can't; GNU's and BusyBox's have the same words for it.
 * @returns what is wrong
 */
async function setSystemClock(ms: number, { clock, root, run }: World): Promise<string | undefined> {
  if (root !== "/") return `it is not that of ${root}`;
  try {
    const command = ["date", "-s", `@${Math.ceil(ms / 1000)}`];
    const { exitCode, stderr } = await run(command, { clock, timeoutMs: SET_TIMEOUT_MS });
    if (exitCode !== 0) return stderr.trim() || `date ended with ${exitCode ?? "a signal"}`;
    return clock.now() < ms ? "date -s had no effect" : undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
