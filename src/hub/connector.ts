/**
 * One attempt after another to open the WebSocket: signs the request, follows redirects, and tries once more
 * at once where a refusal may be no more than a wrong clock or an unknown serializer. What an attempt teaches
 * is kept for the next. A board without a battery signs with a date of 1970 and is refused for ever, unless
 * it believes the hub's own `date`.
 */
import type { ClockGuard } from "../board/clock-guard.ts";
import { type Clock, unlessAborted } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { locationUrl, shortened } from "../platform/text.ts";
import { readCertificateDates } from "./certificate-dates.ts";
import { isDateError } from "./connect-error.ts";
import {
  HandshakeRefused,
  type HandshakeRequest,
  isSignable,
  type OpenedWebSocket,
  openWebSocket,
} from "./handshake.ts";
import type { Serializer } from "./serializer.ts";

export interface ConnectorOptions {
  /**
   * Makes the next attempt's request, with credentials made for it.
   * @param signingTimeMs the hub's time as far as it is known, else the board's
   * @param vsn the serializer's
   */
  readonly request: (signingTimeMs: number, vsn: string) => Promise<HandshakeRequest>;
  readonly serializer: Serializer;
  /** Is used instead, from then on, with a hub that refuses `serializer` and accepts this one. */
  readonly fallback?: Serializer;
  /** Opens one WebSocket. Default: over the network. */
  readonly open?: typeof openWebSocket;
  readonly clock: Clock;
  /** The clock that TLS judges certificates by; without it, each time is believed and no clock is set. */
  readonly clockGuard?: Pick<ClockGuard, "doubt" | "isGuess" | "fit" | "noteHubTime">;
  readonly log: Log;
}

/** nerves_hub_link follows as many. */
const MAX_REDIRECTS = 2;
/** Characters of a server's name in a message; names in DNS are shorter. */
const MAX_ORIGIN = 256;
/** A signature this far off the server's clock may be why it refused; less is rounding of its `date`. */
const CLOCK_DOUBT_MS = 1000;

/** Opens connections to the hub. */
export class HubConnector {
  readonly #options: ConnectorOptions;
  #serializer: Serializer;
  /** The server's last `date`, and when it came on the clock that never jumps. */
  #serverTime: ServerTime | undefined;

  constructor(options: ConnectorOptions) {
    this.#options = options;
    this.#serializer = options.serializer;
  }

  /** The serializer of the last connection, and of the next attempt. */
  get serializer(): Serializer {
    return this.#serializer;
  }

  /** Wall-clock ms: the hub's as far as it is known and believed, else the board's, which may be wrong by decades. */
  hubTimeMs(): number {
    return this.#serverTime?.believed === true ? this.#signingTimeMs() : this.#options.clock.now();
  }

  /** The time that the hub judges signatures by, right or wrong; the board's as long as none is known. */
  #signingTimeMs(): number {
    const { clock } = this.#options;
    if (this.#serverTime === undefined) return clock.now();
    return this.#serverTime.ms + clock.monotonic() - this.#serverTime.monotonicMs;
  }

  /**
   * Makes one attempt.
   * @throws HandshakeRefused; the system's or TLS's error; the signal's reason
   */
  async open(signal: AbortSignal): Promise<OpenedWebSocket> {
    const opened = await this.#openInEitherSerializer(signal);
    const { certificateEndsMs, dateMs, webSocket } = opened;
    if (dateMs === undefined) return opened;
    // Only the hub's certificate shows that the time is the hub's.
    const verified = webSocket.url.startsWith("wss:");
    const believed = verified && (this.#options.clockGuard?.noteHubTime(dateMs, certificateEndsMs) ?? true);
    if (isSignable(dateMs)) this.#noteServerTime(dateMs, believed);
    return opened;
  }

  /** A hub that does not speak the serializer refuses it with 403 (seen), as it does a wrong path. */
  async #openInEitherSerializer(signal: AbortSignal): Promise<OpenedWebSocket> {
    const refused = this.#serializer;
    try {
      return await this.#openInTime(refused.vsn, signal);
    } catch (error) {
      const { fallback, log } = this.#options;
      const forbidden = error instanceof HandshakeRefused && error.status === 403;
      if (!forbidden || fallback === undefined || fallback === refused) throw error;
      const opened = await this.#openInTime(fallback.vsn, signal);
      log.warn(`the hub refuses ${refused.name}; speaking ${fallback.name} from now on`);
      this.#serializer = fallback;
      return opened;
    }
  }

  /** Tries again at once, with the hub's own time, when that may be all that was wrong. */
  async #openInTime(vsn: string, signal: AbortSignal): Promise<OpenedWebSocket> {
    const signedAtMs = this.#signingTimeMs();
    try {
      return await this.#openFollowing(signedAtMs, vsn, signal);
    } catch (error) {
      if (!(error instanceof HandshakeRefused)) throw error;
      const { dateMs, status } = error;
      this.#noteServerTime(dateMs);
      const doubtful = dateMs !== undefined && Math.abs(dateMs - signedAtMs) >= CLOCK_DOUBT_MS;
      if (!doubtful || (status !== 401 && status !== 403)) throw error;
      this.#options.log.warn("refused, and the hub's clock differs; trying with its time", {
        status,
        signed_at: new Date(signedAtMs).toISOString(),
        hub_time: new Date(dateMs).toISOString(),
      });
      return await this.#openFollowing(this.#signingTimeMs(), vsn, signal);
    }
  }

  async #openFollowing(signedAtMs: number, vsn: string, signal: AbortSignal): Promise<OpenedWebSocket> {
    const { log } = this.#options;
    let request = await unlessAborted(this.#options.request(signedAtMs, vsn), signal);
    for (let redirects = 0; ; redirects += 1) {
      try {
        return await this.#openAtRightTime(request, signal);
      } catch (error) {
        const next = error instanceof HandshakeRefused ? redirectTarget(error, request.url) : undefined;
        if (next === undefined) throw error;
        if (redirects === MAX_REDIRECTS)
          throw new Failure("hub_refused", `more than ${MAX_REDIRECTS} redirects; check hub.url`, {
            cause: error,
          });
        if (Object.keys(request.headers).length > 0 && !mayBringSignature(request.url, next))
          throw new Failure(
            "hub_refused",
            `redirected to another server, ${shortened(next.origin, MAX_ORIGIN)}, which must not get this board's signed headers; if it is the hub, set hub.url to it`,
            { cause: error },
          );
        log.info("redirected", { to: next.href });
        request = { ...request, url: next };
      }
    }
  }

  /** Tries once more when the dates of the hub's certificate corrected a clock that was only a guess. */
  async #openAtRightTime(request: HandshakeRequest, signal: AbortSignal): Promise<OpenedWebSocket> {
    const { clock, clockGuard, open = openWebSocket } = this.#options;
    try {
      const opened = await open(request, clock, signal);
      if (opened.certificateEndsMs !== undefined || clockGuard?.isGuess !== true) return opened;
      // TLS by the helper shows no certificate; without its end, the hub's time would not set the board's clock.
      const dates = await readCertificateDates(request, clock, signal);
      return { ...opened, certificateEndsMs: dates?.notAfterMs };
    } catch (error) {
      if (!isDateError(error) || clockGuard?.isGuess !== true) throw error;
      const dates = await readCertificateDates(request, clock, signal);
      if (dates === undefined || !(await clockGuard.fit(dates))) throw error;
      return await open(request, clock, signal);
    }
  }

  /** After an answer without a `date`, the board's own clock counts. */
  #noteServerTime(dateMs: number | undefined, believed = false): void {
    const monotonicMs = this.#options.clock.monotonic();
    this.#serverTime = dateMs === undefined ? undefined : { ms: dateMs, monotonicMs, believed };
  }
}

interface ServerTime {
  readonly ms: number;
  readonly monotonicMs: number;
  /** It is that of a verified hub, and can be right; else it is only for signing. */
  readonly believed: boolean;
}

/** Where a 3xx leads, as a WebSocket URL; undefined for other answers, and where it would leave TLS. */
function redirectTarget(refused: HandshakeRefused, from: URL): URL | undefined {
  const { location } = refused.headers;
  if (refused.status < 300 || refused.status > 399 || location === undefined) return undefined;
  const target = locationUrl(location, from);
  if (target === undefined) return undefined;
  if (target.protocol === "https:") target.protocol = "wss:";
  if (target.protocol === "http:") target.protocol = "ws:";
  if (target.protocol !== "wss:" && target.protocol !== "ws:") return undefined;
  if (from.protocol === "wss:" && target.protocol === "ws:") return undefined;
  target.hash = ""; // WebSocket URLs have none
  target.username = ""; // ws would send them as credentials, which are nobody's but the configuration's to choose
  target.password = "";
  return target;
}

/**
 * Whether a redirected request may keep its signed headers. They do not name the server that they are for, so that
 * another one could be this board at the hub, for as long as they are good. A client certificate is not in question:
 * TLS proves it to one server, which can't use the proof.
 */
function mayBringSignature(from: URL, to: URL): boolean {
  const toTls = from.protocol === "ws:" && to.protocol === "wss:" && from.port === "" && to.port === "";
  return to.hostname === from.hostname && (to.origin === from.origin || toTls);
}
