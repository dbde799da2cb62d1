/**
 * Installs firmware, one at a time. NervesHub sends the same update again at every join, and may send another
 * one while the first is being written: neither disturbs the update under way.
 */
import { EventEmitter } from "node:events";
import { within } from "../platform/clock.ts";
import { noteDefect } from "../platform/defects.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

import { Update, type UpdateEvents, type UpdateOptions, type Waiting } from "./engine.ts";
import { HeldOffer, type Hold, type PutOffOutcome, waitsHere } from "./held-offer.ts";
import type { Offer } from "./offers.ts";
import { type Outcome, REBOOT_FIRST } from "./outcome.ts";
import type { UpdateState } from "./states.ts";

export interface UpdaterStatus {
  readonly state: UpdateState;
  /** The firmware under way; null when there is none or its uuid is not known. */
  readonly uuid: string | null;
  readonly percent: number;
  /** Why its download waits; undefined while bytes come. */
  readonly waiting: Waiting | undefined;
  /** Time since its last step (a state, a percent or a byte), ms; undefined when no update is under way. */
  readonly stillForMs: number | undefined;
  /** An update that waits on the board to be decided again. */
  readonly held: Hold | undefined;
}

/** Installs firmware, one at a time. */
export class Updater extends EventEmitter<UpdateEvents> {
  readonly #options: UpdateOptions;
  readonly #log: Log;
  readonly #abort = new AbortController();
  #stopping = false;
  /** The update under way, or the one that is installed and waits for its reboot. */
  #current: Update | undefined;
  #running: Promise<Outcome> | undefined;
  /** Comes next; the hub has sent it while another one was under way. */
  #waiting: Offer | undefined;
  readonly #held: HeldOffer;

  constructor(options: UpdateOptions) {
    super();
    this.#options = options;
    this.#log = options.log;
    this.#held = new HeldOffer(options.clock, (offer) => this.#decideAgain(offer));
  }

  get status(): UpdaterStatus {
    const current = this.#current;
    return {
      state: this.#state,
      uuid: current?.offer.announced.uuid ?? null,
      percent: current?.percent ?? 0,
      waiting: current?.waiting,
      stillForMs: current?.stillForMs,
      held: this.#held.hold,
    };
  }

  /** True once it was stopped: an update that ends now was interrupted, and did not fail. */
  get stopping(): boolean {
    return this.#stopping;
  }

  /** Takes the hub's offer. It never disturbs the update under way; another firmware waits for its end. */
  offer(offer: Offer): void {
    if (this.#abort.signal.aborted) return;
    const { uuid } = offer.announced;
    if (this.#isInstalled(uuid)) {
      this.#log.info("the same update again: it is installed, and waits for its reboot", { uuid });
      this.emit("installedAlready", offer);
    } else if (this.#held.renew(offer)) {
      const { reason } = this.#held.hold ?? {};
      this.#log.info("the same update again: it waits on the board", { uuid, reason });
    } else if (this.#state === "idle") {
      this.#take(offer);
    } else if (uuid === this.status.uuid && this.#state !== "installed") {
      this.#log.info("the same update again: it is under way", { uuid });
    } else if (this.#state === "installed") {
      this.#answerLater(offer);
    } else {
      this.#log.info("another update waits until this one is decided", { uuid });
      this.#waiting = offer;
    }
  }

  /**
   * Installs at somebody's request on the board.
   * @throws Failure `update_in_progress` or `reboot_pending`
   */
  async apply(offer: Offer): Promise<Outcome> {
    if (this.#state === "installed") {
      throw new Failure("reboot_pending", "an update is installed and waits for its reboot; reboot first");
    }
    if (this.#state !== "idle") {
      throw new Failure("update_in_progress", "an update is under way; try again when it has ended");
    }
    this.emit("received", offer);
    return this.#start(offer);
  }

  /** Goes on with an offer of the hub's that an earlier agent had received. */
  resume(offer: Offer): void {
    if (this.#abort.signal.aborted) return;
    if (!this.#decideAgain(offer)) this.offer(offer);
  }

  /** The board's situation has changed: an update that waits is decided again. */
  wake(): void {
    this.#held.wake();
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** Ends the update under way; a slot that is nearly finished gets `graceMs` to be. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    this.#waiting = undefined;
    this.#held.drop();
    if (this.#state === "finishing" && this.#running !== undefined) {
      await within(this.#options.clock, graceMs, this.#running, undefined);
    }
    this.#abort.abort(new Failure("stopped", "the agent was stopped"));
    await this.#running;
  }

  get #state(): UpdateState {
    return this.#current?.state ?? "idle";
  }

  /** The hub has one update for a board at a time: what waited here is not its update any more. */
  #take(offer: Offer): void {
    const { hold } = this.#held;
    if (hold !== undefined)
      this.#log.info("another update takes the place of the one that waits", { uuid: hold.uuid });
    this.#held.drop();
    this.emit("received", offer);
    this.#launch(offer);
  }

  #decideAgain(offer: Offer): boolean {
    if (this.#state !== "idle" || this.#isInstalled(offer.announced.uuid)) return false;
    this.#launch(offer);
    return true;
  }

  #launch(offer: Offer): void {
    this.#start(offer).catch((error: unknown) => {
      noteDefect(error, "update");
      this.#log.error(`update: ${messageOf(error)}`);
    });
  }

  async #start(offer: Offer): Promise<Outcome> {
    this.#running = this.#run(offer);
    return this.#running;
  }

  async #run(offer: Offer): Promise<Outcome> {
    this.#current = new Update(offer, this.#options, this, this.#abort.signal);
    const outcome = await this.#current.run();
    if (outcome.result === "rescheduled") this.#putOff(offer, outcome);
    else this.emit("ended", offer, outcome);
    if (outcome.result !== "installed") this.#current = undefined;
    this.#running = undefined;
    this.#next();
    return outcome;
  }

  #next(): void {
    const offer = this.#waiting;
    this.#waiting = undefined;
    if (offer === undefined || this.#abort.signal.aborted) return;
    if (this.#state === "idle") this.#take(offer);
    else this.#answerLater(offer);
  }

  /** Whether this firmware waits for its reboot. */
  #isInstalled(uuid: Offer["announced"]["uuid"]): boolean {
    if (this.#state === "installed") return uuid === this.status.uuid;
    // The agent may have been restarted since.
    const { running } = this.#options.firmware;
    return this.#state === "idle" && running?.rebootPending === true && uuid === running.other?.uuid;
  }

  /** Answers an offer that comes while an installed update waits for its reboot. */
  #answerLater(offer: Offer): void {
    this.#log.info("the update is put off", { uuid: offer.announced.uuid, reason: REBOOT_FIRST.reason });
    this.#putOff(offer, { ...REBOOT_FIRST, result: "rescheduled" });
  }

  #putOff(offer: Offer, outcome: PutOffOutcome): void {
    if (this.#stopping || !waitsHere(offer, outcome)) {
      this.emit("ended", offer, outcome);
      return;
    }
    this.#held.put(offer, outcome);
    this.emit("held", offer, outcome);
  }
}
