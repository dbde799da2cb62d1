/**
 * Has the hub send a rescheduled update again. NervesHub does that at the first join after the delay that the
 * board asked for, and not by itself, so the agent has to join again when the delay is over. The journal keeps
 * the time, for an agent that is restarted in between.
 */
import { EventEmitter } from "node:events";
import type { Journal } from "../firmware/journal.ts";
import type { Cancel } from "../platform/clock.ts";
import type { World } from "../platform/world.ts";
import type { Updater } from "./updater.ts";

export interface RescheduleEvents {
  /** An update may be due: join the hub again. */
  due: [];
}

export interface RescheduleOptions {
  readonly journal: Pick<Journal, "askAgain" | "update">;
  readonly updater: Pick<Updater, "status">;
  /** Has the wall-clock time as the hub has it, ms since 1970: the board's own clock may be set in between. */
  readonly link: { hubTimeMs(): number };
  readonly world: World;
}

/** The hub counts from when it read the delay, which is later than when it was sent. */
const MARGIN_MS = 2000;
/** Spreads the joins of a fleet that was put off to the same moment. */
const SPREAD_MS = 8000;
/** While an update is under way, or waits for its reboot, a join would be of no use. */
const BUSY_MS = 60_000;

export class Reschedule extends EventEmitter<RescheduleEvents> {
  readonly #options: RescheduleOptions;
  /** The time that an earlier agent was waiting for; null once this one waits itself. */
  #left: Journal["askAgain"];
  #cancel: Cancel = () => undefined;
  #stopped = false;

  constructor(options: RescheduleOptions) {
    super();
    this.#options = options;
    this.#left = options.journal.askAgain;
  }

  /** The hub is joined, which has it send what is due. */
  joined(): void {
    if (this.#left === null) return;
    const { atMs, delayMs } = this.#left;
    this.#left = null;
    const restMs = atMs - this.#options.link.hubTimeMs();
    if (restMs > 0) this.#arm(Math.min(restMs, delayMs));
    else this.#keep(null);
  }

  /** The hub was asked to send the update again after this delay; the last one counts. */
  after(delayMs: number): void {
    const { link, world } = this.#options;
    const totalMs = delayMs + MARGIN_MS + Math.floor(SPREAD_MS * world.random());
    if (!this.#stopped) this.#keep({ atMs: link.hubTimeMs() + totalMs, delayMs: totalMs });
    this.#arm(totalMs);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  #arm(delayMs: number): void {
    this.#cancel();
    if (this.#stopped) return;
    const { updater, world } = this.#options;
    this.#cancel = world.clock.after(delayMs, () => {
      if (updater.status.state !== "idle") {
        this.#arm(BUSY_MS);
        return;
      }
      this.#keep(null);
      this.emit("due");
    });
  }

  #keep(askAgain: Journal["askAgain"]): void {
    void this.#options.journal.update({ askAgain }); // logs its own failures
  }
}
