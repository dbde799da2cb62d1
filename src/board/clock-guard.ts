/**
 * Time on a board that may start in 1970. Without it every certificate seems not yet valid, and the board
 * never reaches its hub. The clock moves forward to the time kept in the state folder or the build date; where the
 * system does not let the agent set it, the agent counts on by itself.
 *
 * Only the hub's time, and what passed since, gets into the file: a system clock that jumps into the future by
 * mistake would stay there for good. The hub may be wrong too. A single `Date` of 2066 was kept once, and every
 * certificate had expired from then on. So a time that can't be right is ignored, and a clock that shows no more
 * than the agent's guess gives way to the dates of the hub's certificate.
 *
 * A wrong time that could be right is believed, until the next connection: the newest time of a verified hub counts,
 * in both directions, for the file too. Whoever sends one has a certificate of the hub that is valid by the clock as
 * it is, and gains nothing by it that a hub doesn't have anyway. But the servers of one hub may disagree, so that each
 * connection contradicts the one before: such contradictions are followed a few times, and then once an hour, so that
 * neither the board's clock nor the flash pays for them.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, LATEST_DATE_MS } from "../platform/clock.ts";
import { messageOf, systemCode } from "../platform/failure.ts";
import { writeFileAtomic } from "../platform/files.ts";
import type { Log } from "../platform/log.ts";
import { TokenBucket } from "../platform/pace.ts";
import type { World } from "../platform/world.ts";
import { SystemClock, TOLERANCE_MS } from "./system-clock.ts";

export interface ClockGuardOptions {
  /** False: the clock is used as it is. */
  readonly enabled: boolean;
  readonly stateDir: string;
  /** No time can be earlier, nor later by more than 20 years; ms since 1970, 0 when it is not known. */
  readonly buildDateMs: number;
  /** Has the system's clock. With a root other than `/`, that clock is not the board's and is never set. */
  readonly world: World;
  readonly log: Log;
}

/** When a certificate, with all that it depends on, is valid; ms since 1970, both included. */
export interface CertificateDates {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

const FILE = "last-known-time";
const HOUR_MS = 3_600_000;
/** No board runs the same agent for longer. */
const LIFETIME_MS = 20 * 365.25 * 24 * HOUR_MS;
/** How often the agent checks whether somebody has set the clock, while there is a doubt. */
const DOUBT_POLL_MS = 5000;
/** How often a hub may contradict what it said since the start. One wrong time takes two: it comes, and it goes. */
const CONTRADICTIONS = { perSecond: 1 / 3600, burst: 4 };

/** Keeps the agent's clock from running behind the time that is known to have passed. */
export class ClockGuard {
  /** Never behind the time that is known to have passed, even if the system's clock is. */
  readonly clock: Clock;
  readonly #options: ClockGuardOptions;
  readonly #system: SystemClock;
  readonly #latestMs: number;
  readonly #path: string;
  /** The time in the file. */
  #persistedMs = 0;
  #known: Since;
  /** The system's time before the agent set it. */
  #before: Since | undefined;
  /** The known time is the file's or a verified hub's, and may be kept. */
  #proven = true;
  #hubTimeKnown = false;
  readonly #contradictions: TokenBucket;
  /** Writes the file and sets the system's clock, one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #cancelPoll = (): void => undefined;

  private constructor(options: ClockGuardOptions, system: SystemClock) {
    const { buildDateMs, enabled, stateDir, world } = options;
    const { clock } = world;
    this.#options = options;
    this.#system = system;
    this.#latestMs = latestPossible(buildDateMs);
    this.#contradictions = new TokenBucket(CONTRADICTIONS, clock);
    this.#path = join(stateDir, FILE);
    this.#known = this.#since(buildDateMs);
    this.clock = enabled
      ? {
          now: () => {
            const known = Math.ceil(this.#counted(this.#known));
            return this.#isImpossible() ? known : Math.max(clock.now(), known);
          },
          monotonic: () => clock.monotonic(),
          after: (delayMs, task) => clock.after(delayMs, task),
        }
      : clock;
  }

  /** Reads the kept time, and sets the system's clock if it is behind, or later than is possible. */
  static async open(options: ClockGuardOptions): Promise<ClockGuard> {
    const { buildDateMs, enabled, stateDir, world, log } = options;
    const guard = new ClockGuard(options, await SystemClock.open(stateDir, world, log));
    if (!enabled) return guard;
    guard.#persistedMs = await readPersisted(guard.#path, guard.#latestMs, log);
    guard.#known = guard.#since(Math.max(buildDateMs, guard.#persistedMs));
    if (guard.#isBehind() || guard.#isImpossible()) await guard.#help();
    return guard;
  }

  /** Why certificates may seem expired or not yet valid though they are not: TLS judges by the system's clock. */
  get doubt(): string | undefined {
    if (!this.#options.enabled) return undefined;
    const now = `the board's clock says ${isoTime(this.#system.now())}`;
    if (this.#isImpossible()) return `${now}, which can't be right`;
    if (this.#isBehind()) return `${now}, but it is at least ${isoTime(this.#counted(this.#known))}`;
    return this.isGuess ? `${now}, which is only the last time it knew` : undefined;
  }

  /**
   * Whether {@link clock} shows the time, for what it is sent with: a verified hub has said it, or somebody other than
   * the agent has set the system's clock.
   */
  get isSet(): boolean {
    if (this.#options.enabled) return this.#hubTimeKnown || this.doubt === undefined;
    return this.#system.now() >= this.#options.buildDateMs && !this.#isImpossible();
  }

  /** The system's clock shows a guess of the agent's, or nonsense: {@link fit} may correct it. */
  get isGuess(): boolean {
    if (!this.#options.enabled) return false;
    return this.#isImpossible() || (this.#system.isOurs && !this.#hubTimeKnown);
  }

  /**
   * Corrects the known time by that of a hub whose certificate was verified, and the system's clock if nobody but
   * the agent has set that.
   * @param hubMs since 1970; NaN when it could not be read
   * @param certificateEndsMs when that certificate expires; without it, the system's clock is left as it is
   * @returns false, with a line in the log, when it can't be right or the hub contradicts itself too often
   */
  noteHubTime(hubMs: number, certificateEndsMs?: number): boolean {
    const { enabled, log } = this.#options;
    if (!enabled) return true;
    const problem = this.#impossible(hubMs, certificateEndsMs) ?? this.#contradiction(hubMs);
    if (problem !== undefined) {
      log.warn(`the hub's time is ignored: ${problem}`);
      return false;
    }
    this.#hubTimeKnown = true;
    this.#proven = true;
    this.#known = this.#since(hubMs);
    const isOff = Math.abs(this.#system.now() - hubMs) > TOLERANCE_MS;
    const isNobodys = this.#system.isOurs || this.#isImpossible();
    if (certificateEndsMs !== undefined && isNobodys && isOff)
      this.#enqueue(async () => this.#setSystem(this.#counted(this.#known), "is set to the hub's time"));
    this.#persist(HOUR_MS); // now if the file is old: the power may fail before an hour is over
    return true;
  }

  /**
   * Sets a clock that is only a guess to a time at which the hub's certificate is valid: that of the system before
   * the guess if it fits, else the earliest. It is not kept for the next start before a verified hub confirms it.
   * @param dates of a certificate that would be trusted if it were valid now
   * @returns true when the clock was set, and another handshake may succeed
   */
  async fit({ notBeforeMs, notAfterMs }: CertificateDates): Promise<boolean> {
    const { buildDateMs } = this.#options;
    const firstMs = Math.max(buildDateMs, notBeforeMs);
    const lastMs = Math.min(this.#latestMs, notAfterMs);
    const fits = (ms: number): boolean => ms >= firstMs && ms <= lastMs;
    if (!this.isGuess || fits(this.#system.now()) || !fits(firstMs)) return false;
    const beforeMs = this.#before && this.#counted(this.#before);
    const ms = beforeMs !== undefined && fits(beforeMs) ? beforeMs : firstMs;
    if (!(await this.#setSystem(ms, "was only a guess, and is set by the dates of the hub's certificate")))
      return false;
    this.#known = this.#since(ms);
    this.#proven = false;
    return true;
  }

  /**
   * Writes the time to the state folder every hour.
   * @param onSet called when there was a doubt about the system's clock, and somebody has set it
   */
  start(onSet: () => void): void {
    if (!this.#options.enabled) return;
    const pollMs = this.doubt === undefined ? HOUR_MS : DOUBT_POLL_MS;
    this.#cancelPoll = this.#options.world.clock.after(pollMs, () => {
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
    await this.#queue;
  }

  #since(ms: number): Since {
    return { ms, atMonotonicMs: this.#options.world.clock.monotonic() };
  }

  /** A time, and what passed since. */
  #counted({ ms, atMonotonicMs }: Since): number {
    return ms + this.#options.world.clock.monotonic() - atMonotonicMs;
  }

  #isBehind(): boolean {
    return this.#system.now() < this.#counted(this.#known) - TOLERANCE_MS;
  }

  #isImpossible(): boolean {
    return this.#system.now() > this.#latestMs;
  }

  /** Why a hub's time can't be right. */
  #impossible(hubMs: number, certificateEndsMs = Infinity): string | undefined {
    if (Number.isNaN(hubMs)) return "it is not a date";
    const time = isoTime(hubMs);
    const { buildDateMs } = this.#options;
    if (hubMs < buildDateMs) return `${time} is before hublink was built`;
    if (hubMs > certificateEndsMs)
      return `${time} is after the end of its certificate, ${isoTime(certificateEndsMs)}`;
    return hubMs > this.#latestMs ? `${time} is too far in the future` : undefined;
  }

  /** Why a hub's time is not followed though it could be right; counts how often it contradicts an earlier one. */
  #contradiction(hubMs: number): string | undefined {
    const knownMs = this.#counted(this.#known);
    if (!this.#hubTimeKnown || Math.abs(hubMs - knownMs) <= TOLERANCE_MS) return undefined;
    if (this.#contradictions.take()) return undefined;
    return `${isoTime(hubMs)} contradicts ${isoTime(Math.ceil(knownMs))} of an earlier connection, and the hub has done so before; compare the clocks of its servers`;
  }

  async #help(): Promise<void> {
    const { log } = this.#options;
    const { ms } = this.#known;
    const before = this.#system.now();
    if (!this.#isImpossible()) this.#before = this.#since(before);
    const problem = await this.#system.set(ms);
    const behind = before < ms;
    if (problem !== undefined)
      log.error(
        `the board's clock ${behind ? "is behind" : "can't be right"} and can't be set: ${problem}; the agent counts on by itself`,
        { clock: isoTime(before), at_least: isoTime(ms) },
      );
    else
      log.warn(
        behind
          ? "the board's clock was behind the last known time, and is moved forward"
          : "the board's clock was too far in the future, and is moved back",
        { from: isoTime(before), to: isoTime(this.#system.now()) },
      );
  }

  /** @returns whether it is set */
  async #setSystem(ms: number, what: string): Promise<boolean> {
    const { log } = this.#options;
    const from = isoTime(this.#system.now());
    const problem = await this.#system.set(ms);
    if (problem === undefined)
      log.warn(`the board's clock ${what}`, { from, to: isoTime(this.#system.now()) });
    else log.error(`the board's clock can't be set: ${problem}`, { clock: from, should_be: isoTime(ms) });
    return problem === undefined;
  }

  #enqueue(work: () => Promise<unknown>): void {
    this.#queue = this.#queue.then(work);
  }

  /** One write at a time; none while the file is no more than `minAdvanceMs` old. */
  #persist(minAdvanceMs: number): void {
    this.#enqueue(async () => {
      const ms = this.#counted(this.#known);
      if (!this.#proven || ms <= this.#options.buildDateMs) return;
      if (Math.abs(ms - this.#persistedMs) < minAdvanceMs) return;
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

/** A wall-clock time, and when it was, on the clock that never jumps. */
interface Since {
  readonly ms: number;
  readonly atMonotonicMs: number;
}

/**
 * The latest time that a clock can show and be right.
 * @param buildDateMs since 1970; 0 when it is not known
 */
export function latestPossible(buildDateMs: number): number {
  return buildDateMs > 0 ? buildDateMs + LIFETIME_MS : LATEST_DATE_MS;
}

/** The file is plain text, so that a person can read and set it. @returns 0 when there is no usable time */
async function readPersisted(path: string, latestMs: number, log: Log): Promise<number> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) !== "ENOENT")
      log.warn(`the last known time can't be read: ${messageOf(error)}`, { path });
    return 0;
  }
  const ms = Date.parse(text.trim());
  if (ms > 0 && ms <= latestMs) return ms;
  if (ms > latestMs && ms < LATEST_DATE_MS)
    log.warn("the last known time can't be right, and is ignored", { path, time: isoTime(ms) });
  else log.warn("the last known time is damaged", { path });
  return 0;
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
