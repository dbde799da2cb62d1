/**
 * When the link tries again. A connection that held and then ended may have ended for the whole fleet, so the next
 * attempt comes at a random moment of `reconnect.spread_s`. An operator who asks this board to reconnect, or a network
 * of the board's own that went away, concerns no other board, and the attempt comes soon. Two boards with one
 * identifier make the hub close one connection for the other; the plan notices, or they would take turns for ever.
 */
import { failureCode } from "./connect-error.ts";
import { HandshakeRefused } from "./handshake.ts";
import { Backoff, type BackoffOptions, retryAfterMs } from "../platform/pace.ts";
import type { SocketClosed } from "./socket.ts";

/** A connection that was open, and for how long. */
export interface Ended extends SocketClosed {
  readonly lastedMs: number;
}

/** A connection that held this long was a good one: delays start over after it. A flapping link never gets here. */
const STABLE_MS = 60_000;
/** NervesHub closes with this when an operator asks the device to reconnect, and when the same device comes twice. */
const ASKED_CLOSE_CODE = 1001;
const TWIN_WITHIN_MS = 10_000;
const TWIN_CLOSES = 3;
/** With these an attempt did not leave the board. */
const NO_NETWORK = ["ENETUNREACH", "ENETDOWN", "EADDRNOTAVAIL"];

/** A hub's Retry-After is followed up to here; a wrong one must not keep a board away. */
const MAX_RETRY_AFTER_MS = 10 * 60_000;

/** How long a hub that refused asks to stay away. */
function askedMs(error: unknown): number {
  if (!(error instanceof HandshakeRefused)) return 0;
  const { date, "retry-after": value } = error.headers;
  return Math.min(retryAfterMs(value, date, Number.NaN), MAX_RETRY_AFTER_MS);
}

/** The delays before the attempts of one link. */
export class RetryPlan {
  /** Doubles while the hub can't be reached. */
  readonly #backoff: Backoff;
  /** Doubles while the reason is this board's alone: it begins with the shortest delay also after a good connection. */
  readonly #own: Backoff;
  #twinCloses = 0;

  /** @param random from 0 (included) to 1 (excluded) */
  constructor(options: BackoffOptions, random: () => number) {
    this.#backoff = new Backoff(options, random);
    this.#own = new Backoff({ ...options, spreadMs: options.minMs }, random);
  }

  /** Whether another device with this identifier seems to be connected. */
  get hasTwin(): boolean {
    return this.#twinCloses >= TWIN_CLOSES;
  }

  /** Notes that a connection has ended; call it for each, also when the next attempt comes at once. */
  note(ended: Ended): void {
    if (ended.lastedMs < STABLE_MS) return;
    this.#backoff.reset();
    this.#own.reset();
  }

  /**
   * How long to wait after a connection ended, ms.
   * @param addressGone the board has lost the address that the connection had
   */
  afterEnd({ code, lastedMs }: Ended, addressGone: boolean): number {
    const asked = code === ASKED_CLOSE_CODE;
    this.#twinCloses = asked && lastedMs < TWIN_WITHIN_MS ? this.#twinCloses + 1 : 0;
    if (this.hasTwin) return this.#backoff.longest();
    return asked || addressGone ? this.#own.next() : this.#backoff.next();
  }

  /**
   * How long to wait after an attempt that failed, ms.
   * @param addressGone the board has lost the address that its last connection had
   */
  afterFailure(error: unknown, addressGone: boolean): number {
    this.#twinCloses = 0;
    if (addressGone || NO_NETWORK.includes(failureCode(error))) return this.#own.next();
    // After the time that the hub asks for, since it tells all boards the same.
    return askedMs(error) + this.#backoff.next();
  }
}
