import { type BackoffOptions, createBackoff } from "../platform/backoff.ts";
import { type Clock, sleep, unlessAborted } from "../platform/clock.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { type Log, redact } from "../platform/log.ts";
import { type Channel, type ChannelHandlers, createChannel } from "./channel.ts";
import { explainConnectError } from "./connect-error.ts";
import { type OpenedWebSocket, openWebSocket, UpgradeRefused, type UpgradeRequest } from "./handshake.ts";
import type { Serializer } from "./serializer.ts";
import { createPhoenixSocket, type PhoenixSocket, type SocketClosed } from "./socket.ts";

/** How the board stands with its hub. */
export interface LinkStatus {
  readonly connection: "connected" | "connecting" | "disconnected";
  /** Why the last attempt failed or the last connection ended, until the next one is made. */
  readonly lastError: string | undefined;
  /** Wall-clock ms of the next attempt, while disconnected. */
  readonly nextAttemptMs: number | undefined;
  /** This end's address on the connection. */
  readonly localAddress: string | undefined;
  /** What is spoken, or will be. */
  readonly serializer: Serializer["name"];
}

export interface LinkOptions {
  /**
   * Makes the next attempt's request, with credentials made for it.
   * @param signingTimeMs the hub's time as far as it is known, else the board's
   * @param vsn the serializer's
   */
  readonly request: (signingTimeMs: number, vsn: string) => Promise<UpgradeRequest>;
  readonly serializer: Serializer;
  /** Is used instead, from then on, with a hub that refuses `serializer` and takes this one. */
  readonly fallback?: Serializer;
  readonly reconnect: BackoffOptions;
  readonly heartbeatMs: number;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
  readonly onStatus?: (status: LinkStatus) => void;
  /** The time of a hub that was connected over TLS, wall-clock ms. */
  readonly onHubTime?: (hubMs: number) => void;
  /** Why the clock that TLS judges certificates by may be wrong, if it may be. */
  readonly clockDoubt?: () => string | undefined;
}

/** The connection to the hub, made again for ever until stopped. */
export interface HubLink {
  readonly status: LinkStatus;
  /** Wall-clock ms: the hub's as far as it is known, else the board's, which may be wrong by decades. */
  hubTimeMs(): number;
  /** Adds a topic; joined in the order added, now and at each connection. */
  channel(topic: string, handlers: ChannelHandlers): Channel;
  /** Leaves a topic for good. */
  drop(channel: Channel): void;
  start(): void;
  /** True when the hub has surely read all that was pushed before. */
  confirm(timeoutMs: number): Promise<boolean>;
  /** Ends the present connection, or the wait for the next, and connects at once. */
  reconnect(reason: string): void;
  /** Leaves the channels and closes with 1000, so that the hub shows the board offline at once. */
  stop(): Promise<void>;
}

/** A connection that was open, and for how long. */
interface Ended extends SocketClosed {
  readonly lastedMs: number;
}

/** Longer than TLS on a Pi Zero over a bad modem takes, shorter than a person's patience. */
export const UPGRADE_TIMEOUT_MS = 30_000;
/** nerves_hub_link follows as many. */
const MAX_REDIRECTS = 2;
/** A connection that held for so long was a good one: delays start over after it. */
const STABLE_MS = 60_000;
const CLOSE_TIMEOUT_MS = 2000;
/** NervesHub closes a device's older connection with 1001 as soon as the same device comes a second time. */
const TWIN_CLOSE_CODE = 1001;
const TWIN_WITHIN_MS = 10_000;
const TWIN_CLOSES = 3;
/** A signature this far off the server's clock may be why it refused; less is rounding of its `date`. */
const CLOCK_DOUBT_MS = 1000;

export function createHubLink(options: LinkOptions): HubLink {
  const { clock, log } = options;
  const channels = new Set<Channel>();
  const backoff = createBackoff(options.reconnect, options.random);
  let { serializer } = options;
  /** Ends whatever the loop waits for; renewed for each attempt. */
  let wake = new AbortController();
  let stopped = false;
  let socket: PhoenixSocket | undefined;
  let running: Promise<void> | undefined;
  let twinCloses = 0;
  /** What the server's last `date` said, and when on the clock that never jumps. */
  let serverTime: { readonly ms: number; readonly monotonicMs: number } | undefined;
  let status: LinkStatus = {
    connection: "disconnected",
    lastError: undefined,
    nextAttemptMs: undefined,
    localAddress: undefined,
    serializer: serializer.name,
  };

  const setStatus = (changes: Partial<LinkStatus>): void => {
    status = { ...status, ...changes };
    try {
      options.onStatus?.(status);
    } catch (error) {
      log.error(`telling of the connection: ${messageOf(error)}`); // it stands or falls without its audience
    }
  };

  /** A server without a `date` corrects no one: then the board's own clock counts again. */
  const noteServerTime = (dateMs: number | undefined): void => {
    serverTime = dateMs === undefined ? undefined : { ms: dateMs, monotonicMs: clock.monotonic() };
  };

  const hubTimeMs = (): number =>
    serverTime === undefined ? clock.now() : serverTime.ms + clock.monotonic() - serverTime.monotonicMs;

  const openFollowing = async (signedAtMs: number, vsn: string): Promise<OpenedWebSocket> => {
    let request = await unlessAborted(options.request(signedAtMs, vsn), wake.signal);
    for (let redirects = 0; ; redirects += 1) {
      try {
        return await openWebSocket(request, clock, wake.signal);
      } catch (error) {
        const next = error instanceof UpgradeRefused ? redirectTarget(error, request.url) : undefined;
        if (next === undefined) throw error;
        if (redirects === MAX_REDIRECTS)
          throw new Error(`more than ${MAX_REDIRECTS} redirects; check hub.url`, { cause: error });
        log.info("redirected", { to: next.href });
        request = { ...request, url: next };
      }
    }
  };

  /** Tries again at once, with the hub's own time, when that may be all that was wrong. */
  const openInTime = async (vsn: string): Promise<OpenedWebSocket> => {
    const signedAtMs = hubTimeMs();
    try {
      return await openFollowing(signedAtMs, vsn);
    } catch (error) {
      if (!(error instanceof UpgradeRefused)) throw error;
      noteServerTime(error.dateMs);
      const doubtful = error.dateMs !== undefined && Math.abs(error.dateMs - signedAtMs) >= CLOCK_DOUBT_MS;
      if (!doubtful || (error.status !== 401 && error.status !== 403)) throw error;
      log.warn("refused, and the hub's clock differs; trying with its time", {
        status: error.status,
        signed_at: new Date(signedAtMs).toISOString(),
        hub_time: new Date(error.dateMs).toISOString(),
      });
      return await openFollowing(hubTimeMs(), vsn);
    }
  };

  /** A hub that does not speak the serializer refuses it with 403 (seen), as it does a wrong path. */
  const open = async (): Promise<OpenedWebSocket> => {
    try {
      return await openInTime(serializer.vsn);
    } catch (error) {
      const { fallback } = options;
      const refused = error instanceof UpgradeRefused && error.status === 403;
      if (!refused || fallback === undefined || fallback === serializer) throw error;
      const opened = await openInTime(fallback.vsn);
      log.warn(`the hub refuses ${serializer.name}; speaking ${fallback.name} from now on`);
      serializer = fallback;
      setStatus({ serializer: serializer.name });
      return opened;
    }
  };

  const isStopped = (): boolean => stopped;

  /** Runs one connection from its first packet to its end. */
  const connection = async (): Promise<Ended> => {
    setStatus({ connection: "connecting", nextAttemptMs: undefined });
    const opened = await open();
    const openedMs = clock.monotonic();
    const { webSocket, dateMs } = opened;
    if (dateMs !== undefined) {
      noteServerTime(dateMs);
      if (webSocket.url.startsWith("wss:")) options.onHubTime?.(dateMs);
    }
    if (wake.signal.aborted) {
      webSocket.terminate();
      throw wake.signal.reason as Error;
    }
    return await new Promise<Ended>((resolve) => {
      const current = createPhoenixSocket({
        webSocket,
        serializer,
        clock,
        heartbeatMs: options.heartbeatMs,
        log,
        onFrame(frame) {
          for (const channel of channels) if (channel.topic === frame.topic) channel.handle(frame);
        },
        onClose(closed) {
          socket = undefined;
          for (const channel of channels) channel.detach();
          resolve({ ...closed, lastedMs: clock.monotonic() - openedMs });
        },
      });
      socket = current;
      setStatus({ connection: "connected", lastError: undefined, localAddress: opened.localAddress });
      for (const channel of channels) channel.attach(current);
    });
  };

  /** How long to wait after a connection ended; after an attempt that failed, when not given. */
  const delayAfter = (ended: Ended | undefined): number => {
    const kicked = ended?.code === TWIN_CLOSE_CODE && ended.lastedMs < TWIN_WITHIN_MS;
    twinCloses = kicked ? twinCloses + 1 : 0;
    return twinCloses >= TWIN_CLOSES ? backoff.longest() : backoff.next();
  };

  const run = async (): Promise<void> => {
    for (;;) {
      wake = new AbortController();
      if (isStopped()) return;
      let ended: Ended | undefined;
      let lastError: string;
      try {
        ended = await connection();
        lastError = redact(`the connection ended: ${ended.reason || "no reason given"} (${ended.code})`);
      } catch (error) {
        lastError = redact(
          error instanceof Failure ? messageOf(error) : explainConnectError(error, options.clockDoubt?.()),
        );
      }
      if (isStopped()) return;
      if (ended !== undefined && ended.lastedMs >= STABLE_MS) backoff.reset();
      const woken = wake.signal.aborted;
      const delayMs = woken ? 0 : delayAfter(ended);
      if (!woken && twinCloses >= TWIN_CLOSES)
        lastError = "another device with this identifier is connected to the hub";
      log.warn(`no hub: ${lastError}`, { retry_in_s: Math.round(delayMs / 100) / 10 });
      setStatus({
        connection: "disconnected",
        lastError,
        localAddress: undefined,
        nextAttemptMs: clock.now() + delayMs,
      });
      try {
        await sleep(clock, delayMs, wake.signal);
      } catch {
        // woken: to connect at once, or to stop
      }
    }
  };

  return {
    hubTimeMs,
    get status() {
      return status;
    },
    channel(topic, handlers) {
      const channel = createChannel({ topic, clock, random: options.random, log, ...handlers });
      channels.add(channel);
      if (socket !== undefined) channel.attach(socket);
      return channel;
    },
    drop(channel) {
      channel.leave();
      channels.delete(channel);
    },
    start() {
      running ??= run();
    },
    async confirm(timeoutMs) {
      return (await socket?.confirm(timeoutMs)) ?? false;
    },
    reconnect(reason) {
      log.info(`connecting anew: ${reason}`);
      wake.abort(new Error(reason));
      socket?.terminate(reason);
    },
    async stop() {
      stopped = true;
      wake.abort(new Error("the agent stops"));
      for (const channel of channels) channel.leave();
      await socket?.close(1000, "the agent stops", CLOSE_TIMEOUT_MS);
      await running;
      setStatus({ connection: "disconnected", nextAttemptMs: undefined, localAddress: undefined });
    },
  };
}

/** Where a 3xx leads, as a WebSocket URL; undefined when it is no redirect or would leave TLS. */
function redirectTarget(refused: UpgradeRefused, from: URL): URL | undefined {
  const { location } = refused.headers;
  if (refused.status < 300 || refused.status > 399 || location === undefined) return undefined;
  if (!URL.canParse(location, from.href)) return undefined;
  const target = new URL(location, from.href);
  if (target.protocol === "https:") target.protocol = "wss:";
  if (target.protocol === "http:") target.protocol = "ws:";
  if (target.protocol !== "wss:" && target.protocol !== "ws:") return undefined;
  if (from.protocol === "wss:" && target.protocol === "ws:") return undefined;
  target.hash = ""; // no WebSocket URL has one
  return target;
}
