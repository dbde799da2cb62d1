import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../platform/files.ts";
import type { Clock } from "../platform/clock.ts";
import type { runCommand } from "../platform/command.ts";
import { messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

export interface ClockGuardOptions {
  /** Otherwise the clock is taken as it is. */
  readonly enabled: boolean;
  readonly stateDir: string;
  /** No time can be earlier; ms since 1970. */
  readonly buildDateMs: number;
  /** The system's. */
  readonly clock: Clock;
  /** The root folder, `/` on a board; with any other the system's clock is not the board's, and left alone. */
  readonly root: string;
  readonly runCommand: typeof runCommand;
  readonly log: Log;
}

/** Time on a board that may have no clock. */
export interface ClockGuard {
  /** Never behind what is known to have passed, whatever the system's clock says. */
  readonly clock: Clock;
  /** Why certificates may seem not yet valid though they are: the system's clock, by which TLS judges. */
  readonly doubt: string | undefined;
  /** Takes the time of a hub whose certificate was verified. */
  noteHubTime(hubMs: number): void;
  /**
   * Keeps the time in the state folder every now and then.
   * @param onSet called when somebody has set a system clock of which there was a doubt
   */
  start(onSet: () => void): void;
  /** Keeps it for the next start. */
  stop(): Promise<void>;
}

const FILE = "last-known-time";
const HOUR_MS = 3_600_000;
/** While there is a doubt, to see somebody set the clock. */
const LOOK_MS = 5000;
/** What a clock that nobody set may drift or be rounded by. */
const TOLERANCE_MS = 60_000;
const SET_TIMEOUT_MS = 5000;
/** No clock that is right gives a year of five digits. */
const LATEST_MS = Date.UTC(10_000, 0);

/**
 * Guards the clock: the system's is moved forward when it is behind the time kept in the state folder or
 * the build date; where that is not permitted, the agent counts on by itself.
 *
 * Only a hub's word and the time that passed since ever get into the file: a system clock that jumps into
 * the future by mistake would stay there for good.
 */
export async function openClockGuard(options: ClockGuardOptions): Promise<ClockGuard> {
  const { clock: system, buildDateMs, log } = options;
  if (!options.enabled) return unguarded(system);
  const path = join(options.stateDir, FILE);
  const kept = await readKept(path, log);
  let keptMs = kept;
  let known = { ms: Math.max(buildDateMs, kept), atMonotonicMs: system.monotonic() };
  let hubTold = false;
  let keeping = Promise.resolve();
  let cancelLook = (): void => undefined;

  const knownNow = (): number => known.ms + system.monotonic() - known.atMonotonicMs;
  const isBehind = (): boolean => system.now() < knownNow() - TOLERANCE_MS;

  /** Whether the system's clock had to be helped; then it is as good as the file it came from. */
  let helped = false;
  if (isBehind()) {
    const before = isoTime(system.now());
    const problem = await setSystemClock(known.ms, options);
    helped = true;
    if (problem === undefined)
      log.warn("the board's clock was behind the last known time, and is moved forward", {
        from: before,
        to: isoTime(system.now()),
      });
    else
      log.error(`the board's clock is behind and can't be set: ${problem}; the agent counts on by itself`, {
        clock: before,
        at_least: isoTime(known.ms),
      });
  }

  const doubt = (): string | undefined => {
    const now = isoTime(system.now());
    if (isBehind()) return `the board's clock says ${now}, but it is at least ${isoTime(knownNow())}`;
    const untouched = helped && !hubTold && system.now() < knownNow() + TOLERANCE_MS;
    return untouched ? `the board's clock says ${now}, which is only the last time it knew` : undefined;
  };

  const keep = async (minAdvanceMs: number): Promise<void> => {
    const ms = knownNow();
    if (Math.abs(ms - keptMs) < minAdvanceMs || ms <= buildDateMs) return;
    keptMs = ms;
    try {
      await writeFileAtomic(path, `${isoTime(ms)}\n`);
    } catch (error) {
      log.warn(`the time can't be kept for the next start: ${messageOf(error)}`, { path });
    }
  };
  const keepSoon = (minAdvanceMs: number): void => {
    keeping = keeping.then(async () => keep(minAdvanceMs));
  };

  const look = (onSet: () => void): void => {
    const doubtful = doubt() !== undefined;
    cancelLook = system.after(doubtful ? LOOK_MS : HOUR_MS, () => {
      keepSoon(HOUR_MS);
      if (doubtful && doubt() === undefined && !hubTold) {
        log.info("the board's clock was set", { to: isoTime(system.now()) });
        onSet();
      }
      look(onSet);
    });
  };

  return {
    clock: {
      now: () => Math.max(system.now(), Math.ceil(knownNow())),
      monotonic: () => system.monotonic(),
      after: (delayMs, task) => system.after(delayMs, task),
    },
    get doubt() {
      return doubt();
    },
    noteHubTime(hubMs) {
      hubTold = true;
      known = { ms: Math.max(buildDateMs, hubMs), atMonotonicMs: system.monotonic() };
      keepSoon(HOUR_MS); // at once after a long time, since the power may fail before an hour is over
    },
    start: look,
    async stop() {
      cancelLook();
      keepSoon(TOLERANCE_MS);
      await keeping;
    },
  };
}

function unguarded(clock: Clock): ClockGuard {
  const nothing = (): void => undefined;
  return {
    clock,
    doubt: undefined,
    noteHubTime: nothing,
    start: nothing,
    stop: async () => Promise.resolve(),
  };
}

/** @returns 0 when none was kept */
async function readKept(path: string, log: Log): Promise<number> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) !== "ENOENT")
      log.warn(`the last known time can't be read: ${messageOf(error)}`, { path });
    return 0;
  }
  const ms = Date.parse(text.trim());
  if (ms > 0 && ms < LATEST_MS) return ms;
  log.warn("the last known time is damaged", { path });
  return 0;
}

/** Node can't set it by itself; GNU's date and BusyBox's take the same words. @returns what is wrong */
async function setSystemClock(
  ms: number,
  { clock, root, runCommand }: ClockGuardOptions,
): Promise<string | undefined> {
  if (root !== "/") return `it is not that of ${root}`;
  try {
    const command = ["date", "-s", `@${Math.ceil(ms / 1000)}`];
    const { exitCode, stderr } = await runCommand(command, { clock, timeoutMs: SET_TIMEOUT_MS });
    if (exitCode !== 0) return stderr.trim() || `date ended with ${exitCode ?? "a signal"}`;
    return clock.now() < ms ? "date -s had no effect" : undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
