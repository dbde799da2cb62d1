/**
 * An update that waits on the board for its next decision. NervesHub counts an attempt for each time that it sends
 * an update, and blocks a board for a day after three: a board that answered each short delay with `rescheduled`
 * would lock itself out, and an update that no deployment sent, which comes only once, would be lost (protocol 4.4).
 */
import type { Cancel, Clock } from "../platform/clock.ts";
import type { Offer } from "./offers.ts";
import type { NotInstalled } from "./outcome.ts";

export type PutOffOutcome = Extract<NotInstalled, { readonly result: "rescheduled" }>;

/** The hub gives an update up that it hears nothing of for this long. */
const SHORT_MS = 30 * 60_000;
/** While another update is under way, or installed, there is nothing to decide. */
const BUSY_MS = 60_000;

/** Why, and until when, an update waits. */
export interface Hold {
  readonly uuid: string | null;
  readonly reason: string;
  /** On the clock that never jumps. */
  readonly untilMs: number;
}

/** Whether an offer that is put off waits on the board, and not for the hub to send it again. */
export function waitsHere({ origin }: Offer, { delayMs }: PutOffOutcome): boolean {
  return origin === "hub" && delayMs < SHORT_MS;
}

/** At most one update that waits. */
export class HeldOffer {
  readonly #clock: Clock;
  /** Takes the offer to be decided again; false when that is not possible now. */
  readonly #onDue: (offer: Offer) => boolean;
  #held: { readonly offer: Offer; readonly hold: Hold } | undefined;
  #cancel: Cancel = () => undefined;

  constructor(clock: Clock, onDue: (offer: Offer) => boolean) {
    this.#clock = clock;
    this.#onDue = onDue;
  }

  get hold(): Hold | undefined {
    return this.#held?.hold;
  }

  /** Takes the place of one that waited before. */
  put(offer: Offer, { delayMs, reason }: PutOffOutcome): void {
    const uuid = offer.announced.uuid ?? null;
    this.#held = { offer, hold: { uuid, reason, untilMs: this.#clock.monotonic() + delayMs } };
    this.#arm(delayMs);
  }

  /**
   * The hub sent the update once more, with another URL.
   * @returns false when it is not the one that waits
   */
  renew(offer: Offer): boolean {
    if (this.#held === undefined || this.#held.hold.uuid !== offer.announced.uuid) return false;
    this.#held = { ...this.#held, offer };
    return true;
  }

  /** What it waits for may be over: it is decided again now. */
  wake(): void {
    if (this.#held === undefined) return;
    const { offer } = this.#held;
    this.#cancel();
    if (this.#onDue(offer)) this.#held = undefined;
    else this.#arm(BUSY_MS);
  }

  /** It waits no longer: another one came, or the agent stops. */
  drop(): void {
    this.#cancel();
    this.#held = undefined;
  }

  #arm(delayMs: number): void {
    this.#cancel();
    this.#cancel = this.#clock.after(delayMs, () => this.wake());
  }
}
