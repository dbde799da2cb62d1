import type { WebSocket } from "ws";
import type { Cancel, Clock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { FrameError, type Frame, type Serializer } from "./serializer.ts";

/** Why a socket ended. */
export interface SocketClosed {
  /** WebSocket close code; 1006 when the line just went away. */
  readonly code: number;
  readonly reason: string;
}

export interface PhoenixSocketOptions {
  readonly webSocket: WebSocket;
  readonly serializer: Serializer;
  readonly clock: Clock;
  readonly heartbeatMs: number;
  readonly log: Log;
  readonly onFrame: (frame: Frame) => void;
  readonly onClose: (closed: SocketClosed) => void;
}

/** The Phoenix socket on one open WebSocket. */
export interface PhoenixSocket {
  /** A ref no frame of this socket has had. */
  nextRef(): string;
  /**
   * False when the frame was not taken: the socket is closed, or too much waits to be sent.
   * @param maxUnsentBytes how much is too much, for a caller that deals with it; by default what may wait
   *   at most, and then it is logged
   */
  send(frame: Frame, maxUnsentBytes?: number): boolean;
  /**
   * A heartbeat and back. The connection keeps order, so true means that the server has read every frame
   * sent before; false that it could not be shown within `timeoutMs`.
   */
  confirm(timeoutMs: number): Promise<boolean>;
  /** Closes politely, and for certain after `timeoutMs`. */
  close(code: number, reason: string, timeoutMs: number): Promise<void>;
  /** Tears the connection down without a word. */
  terminate(reason: string): void;
}

const HEARTBEAT_TOPIC = "phoenix";
/** What may wait in memory for a slow line. */
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024;
/** A flood is read at this pace, the rest waits in the kernel: its cost is bounded. */
const MAX_FRAMES_PER_S = 2000;

/** Takes over an open WebSocket: heartbeats, refs, decoding, and the end. */
export function createPhoenixSocket(options: PhoenixSocketOptions): PhoenixSocket {
  const { webSocket, serializer, clock, heartbeatMs, log } = options;
  const confirmations = new Map<string, (confirmed: boolean) => void>();
  let lastRef = 0;
  let lastHeardMs = clock.monotonic();
  let framesThisSecond = 0;
  let ignoredThisSecond = 0;
  let ownReason: string | undefined;
  let closed = false;
  let cancelHeartbeat: Cancel = () => undefined;
  let cancelPause: Cancel = () => undefined;

  const nextRef = (): string => String(++lastRef);

  const send = (frame: Frame, maxUnsentBytes?: number): boolean => {
    if (webSocket.readyState !== webSocket.OPEN) return false;
    if (maxUnsentBytes !== undefined && webSocket.bufferedAmount > maxUnsentBytes) return false;
    if (webSocket.bufferedAmount > MAX_BUFFERED_BYTES) {
      log.warn("the line is too slow, a message is dropped", { topic: frame.topic, event: frame.event });
      return false;
    }
    webSocket.send(serializer.encode(frame));
    return true;
  };

  const sendHeartbeat = (): string | undefined => {
    const ref = nextRef();
    const sent = send({ joinRef: null, ref, topic: HEARTBEAT_TOPIC, event: "heartbeat", payload: {} });
    return sent ? ref : undefined;
  };

  const terminate = (reason: string): void => {
    ownReason ??= reason;
    webSocket.terminate();
  };

  const beat = (): void => {
    cancelHeartbeat = clock.after(heartbeatMs, () => {
      const silentMs = clock.monotonic() - lastHeardMs;
      if (silentMs >= 2 * heartbeatMs) {
        terminate(`the hub was silent for ${Math.round(silentMs / 1000)} s`);
        return;
      }
      sendHeartbeat();
      beat();
    });
  };

  const pace = (): void => {
    framesThisSecond += 1;
    if (framesThisSecond === 1) {
      cancelPause = clock.after(1000, () => {
        framesThisSecond = 0;
        ignoredThisSecond = 0;
        if (webSocket.isPaused) webSocket.resume();
      });
    } else if (framesThisSecond === MAX_FRAMES_PER_S) {
      log.warn("the hub floods this board with messages; reading more slowly");
      webSocket.pause();
    }
  };

  const receive = (data: Buffer, isBinary: boolean): void => {
    lastHeardMs = clock.monotonic();
    pace();
    let frame: Frame;
    try {
      frame = serializer.decode(data, isBinary);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      ignoredThisSecond += 1;
      if (ignoredThisSecond === 1) log.warn(`ignored what the hub sent: ${error.message}`);
      return;
    }
    if (frame.topic !== HEARTBEAT_TOPIC) {
      options.onFrame(frame);
    } else if (frame.ref !== null) {
      confirmations.get(frame.ref)?.(true);
    }
  };

  webSocket.on("message", (data, isBinary) => {
    if (Buffer.isBuffer(data)) receive(data, isBinary); // always so with ws's default binaryType
  });
  webSocket.on("error", (error) => {
    ownReason ??= messageOf(error);
  });
  webSocket.once("close", (code, reason) => {
    closed = true;
    cancelHeartbeat();
    cancelPause();
    for (const settle of [...confirmations.values()]) settle(false);
    options.onClose({ code, reason: ownReason ?? reason.toString("utf8") });
  });
  beat();
  webSocket.resume();

  return {
    nextRef,
    send,
    terminate,
    async confirm(timeoutMs) {
      const ref = sendHeartbeat();
      if (ref === undefined) return false;
      return new Promise<boolean>((resolve) => {
        const settle = (confirmed: boolean): void => {
          cancel();
          confirmations.delete(ref);
          resolve(confirmed);
        };
        const cancel = clock.after(timeoutMs, () => settle(false));
        confirmations.set(ref, settle);
      });
    },
    async close(code, reason, timeoutMs) {
      if (closed) return;
      ownReason ??= reason;
      await new Promise<void>((resolve) => {
        const cancel = clock.after(timeoutMs, () => webSocket.terminate());
        webSocket.once("close", () => {
          cancel();
          resolve();
        });
        webSocket.close(code, reason);
      });
    },
  };
}
