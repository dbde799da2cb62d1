/**
 * One attempt after another to open the WebSocket: signs the request, follows redirects, and tries once more
 * at once where a refusal may be no more than a wrong clock or an unknown serializer. What an attempt teaches
 * is kept for the next. A board without a battery signs with a date of 1970 and is refused for ever, unless
 * it believes the hub's own `date`.
 */
import { type Clock, unlessAborted } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { type OpenedWebSocket, openWebSocket, HandshakeRefused, type HandshakeRequest } from "./handshake.ts";
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
  readonly clock: Clock;
  readonly log: Log;
}

/** nerves_hub_link follows as many. */
const MAX_REDIRECTS = 2;
/** A signature this far off the server's clock may be why it refused; less is rounding of its `date`. */
const CLOCK_DOUBT_MS = 1000;

/** Opens connections to the hub. */
export class HubConnector {
  readonly #options: ConnectorOptions;
  #serializer: Serializer;
  /** The server's last `date`, and when it came on the clock that never jumps. */
  #serverTime: { readonly ms: number; readonly monotonicMs: number } | undefined;

  constructor(options: ConnectorOptions) {
    this.#options = options;
    this.#serializer = options.serializer;
  }

  /** The serializer of the last connection, and of the next attempt. */
  get serializer(): Serializer {
    return this.#serializer;
  }

  /** Wall-clock ms: the hub's as far as it is known, else the board's, which may be wrong by decades. */
  hubTimeMs(): number {
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
    if (opened.dateMs !== undefined) this.#noteServerTime(opened.dateMs);
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
    const signedAtMs = this.hubTimeMs();
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
      return await this.#openFollowing(this.hubTimeMs(), vsn, signal);
    }
  }

  async #openFollowing(signedAtMs: number, vsn: string, signal: AbortSignal): Promise<OpenedWebSocket> {
    const { clock, log } = this.#options;
    let request = await unlessAborted(this.#options.request(signedAtMs, vsn), signal);
    for (let redirects = 0; ; redirects += 1) {
      try {
        return await openWebSocket(request, clock, signal);
      } catch (error) {
        const next = error instanceof HandshakeRefused ? redirectTarget(error, request.url) : undefined;
        if (next === undefined) throw error;
        if (redirects === MAX_REDIRECTS)
          throw new Failure("hub_refused", `more than ${MAX_REDIRECTS} redirects; check hub.url`, {
            cause: error,
          });
        log.info("redirected", { to: next.href });
        request = { ...request, url: next };
      }
    }
  }

  /** After an answer without a `date`, the board's own clock counts. */
  #noteServerTime(dateMs: number | undefined): void {
    const monotonicMs = this.#options.clock.monotonic();
    this.#serverTime = dateMs === undefined ? undefined : { ms: dateMs, monotonicMs };
  }
}

/** Where a 3xx leads, as a WebSocket URL; undefined for other answers, and where it would leave TLS. */
function redirectTarget(refused: HandshakeRefused, from: URL): URL | undefined {
  const { location } = refused.headers;
  if (refused.status < 300 || refused.status > 399 || location === undefined) return undefined;
  if (!URL.canParse(location, from.href)) return undefined;
  const target = new URL(location, from.href);
  if (target.protocol === "https:") target.protocol = "wss:";
  if (target.protocol === "http:") target.protocol = "ws:";
  if (target.protocol !== "wss:" && target.protocol !== "ws:") return undefined;
  if (from.protocol === "wss:" && target.protocol === "ws:") return undefined;
  target.hash = ""; // WebSocket URLs have none
  return target;
}
