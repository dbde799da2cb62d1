/**
 * The Phoenix socket on one open WebSocket: refs, heartbeats, decoding, and the end. It notices a hub that
 * has gone without a word (two heartbeats of silence), and bounds what a slow line or a flooding hub can cost.
 */
import { EventEmitter } from "node:events";
import type { WebSocket } from "ws";
import type { Cancel, Clock } from "../platform/clock.ts";
import { failedWith, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { Frame, Serializer } from "./serializer.ts";

/** Why a socket ended. */
export interface SocketClosed {
  /** WebSocket close code; 1006 when the line just went away. */
  readonly code: number;
  readonly reason: string;
}

export interface PhoenixSocketOptions {
  /** Open and paused. */
  readonly webSocket: WebSocket;
  readonly serializer: Serializer;
  readonly clock: Clock;
  readonly heartbeatMs: number;
  readonly log: Log;
}

interface PhoenixSocketEvents {
  frame: [frame: Frame];
  close: [closed: SocketClosed];
}

const HEARTBEAT_TOPIC = "phoenix";
/** The most that may wait in memory for a slow line. */
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024;
/** A flood is read at this pace, the rest waits in the kernel: its cost is bounded. */
const MAX_FRAMES_PER_S = 2000;

/** Takes over an open WebSocket. Listen to its events in the same turn: the first frames come in the next. */
export class PhoenixSocket extends EventEmitter<PhoenixSocketEvents> {
  readonly #webSocket: WebSocket;
  readonly #options: PhoenixSocketOptions;
  readonly #confirmations = new Map<string, (confirmed: boolean) => void>();
  #lastRef = 0;
  #lastHeardMs: number;
  #framesThisSecond = 0;
  #ignoredThisSecond = 0;
  /** Why this end closed the connection, or the error that ended it. */
  #ownReason: string | undefined;
  #closed = false;
  #cancelHeartbeat: Cancel = () => undefined;
  #cancelPause: Cancel = () => undefined;

  constructor(options: PhoenixSocketOptions) {
    super();
    const { webSocket } = options;
    this.#options = options;
    this.#webSocket = webSocket;
    this.#lastHeardMs = options.clock.monotonic();
    webSocket.on("message", (data, isBinary) => {
      if (Buffer.isBuffer(data)) this.#receive(data, isBinary); // always so with ws's default binaryType
    });
    webSocket.on("error", (error) => {
      this.#ownReason ??= messageOf(error);
    });
    webSocket.once("close", (code, reason) => this.#handleClose(code, reason.toString("utf8")));
    this.#scheduleHeartbeat();
    webSocket.resume();
  }

  /** A ref no frame of this socket has had. */
  nextRef(): string {
    return String(++this.#lastRef);
  }

  /**
   * False when the frame was not sent: the socket is closed, or too much waits to be sent.
   * @param maxUnsentBytes how much is too much, for a caller that deals with a refusal; by default the limit
   *   on what may wait at all, which is logged when it is reached
   */
  send(frame: Frame, maxUnsentBytes?: number): boolean {
    const webSocket = this.#webSocket;
    if (webSocket.readyState !== webSocket.OPEN) return false;
    if (maxUnsentBytes !== undefined && webSocket.bufferedAmount > maxUnsentBytes) return false;
    if (webSocket.bufferedAmount > MAX_BUFFERED_BYTES) {
      const { topic, event } = frame;
      this.#options.log.warn("the line is too slow, a message is dropped", { topic, event });
      return false;
    }
    webSocket.send(this.#options.serializer.encode(frame));
    return true;
  }

  /**
   * Sends a heartbeat and waits for its reply. The connection keeps order, so true means that the server has
   * read every frame sent before; false that this could not be shown within `timeoutMs`.
   */
  async confirm(timeoutMs: number): Promise<boolean> {
    const ref = this.#sendHeartbeat();
    if (ref === undefined) return false;
    return new Promise<boolean>((resolve) => {
      const settle = (confirmed: boolean): void => {
        cancel();
        this.#confirmations.delete(ref);
        resolve(confirmed);
      };
      const cancel = this.#options.clock.after(timeoutMs, () => settle(false));
      this.#confirmations.set(ref, settle);
    });
  }

  /** Closes with a closing handshake, and for certain after `timeoutMs`. */
  async close(code: number, reason: string, timeoutMs: number): Promise<void> {
    if (this.#closed) return;
    this.#ownReason ??= reason;
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(timeoutMs, () => this.#webSocket.terminate());
      this.#webSocket.once("close", () => {
        cancel();
        resolve();
      });
      this.#webSocket.close(code, reason);
    });
  }

  /** Tears the connection down without a closing handshake. */
  terminate(reason: string): void {
    this.#ownReason ??= reason;
    this.#webSocket.terminate();
  }

  #handleClose(code: number, reason: string): void {
    this.#closed = true;
    this.#cancelHeartbeat();
    this.#cancelPause();
    for (const settle of [...this.#confirmations.values()]) settle(false);
    this.emit("close", { code, reason: this.#ownReason ?? reason });
  }

  #sendHeartbeat(): string | undefined {
    const ref = this.nextRef();
    const sent = this.send({ joinRef: null, ref, topic: HEARTBEAT_TOPIC, event: "heartbeat", payload: {} });
    return sent ? ref : undefined;
  }

  #scheduleHeartbeat(): void {
    const { clock, heartbeatMs } = this.#options;
    this.#cancelHeartbeat = clock.after(heartbeatMs, () => {
      const silentMs = clock.monotonic() - this.#lastHeardMs;
      if (silentMs >= 2 * heartbeatMs) {
        this.terminate(`the hub was silent for ${Math.round(silentMs / 1000)} s`);
        return;
      }
      this.#sendHeartbeat();
      this.#scheduleHeartbeat();
    });
  }

  #receive(data: Buffer, isBinary: boolean): void {
    this.#lastHeardMs = this.#options.clock.monotonic();
    this.#slowDownFlood();
    let frame: Frame;
    try {
      frame = this.#options.serializer.decode(data, isBinary);
    } catch (error) {
      if (!failedWith(error, "frame_invalid")) throw error;
      this.#ignoredThisSecond += 1;
      if (this.#ignoredThisSecond === 1)
        this.#options.log.warn(`ignored what the hub sent: ${messageOf(error)}`);
      return;
    }
    if (frame.topic !== HEARTBEAT_TOPIC) this.emit("frame", frame);
    else if (frame.ref !== null) this.#confirmations.get(frame.ref)?.(true);
  }

  #slowDownFlood(): void {
    this.#framesThisSecond += 1;
    if (this.#framesThisSecond === 1) {
      this.#cancelPause = this.#options.clock.after(1000, () => {
        this.#framesThisSecond = 0;
        this.#ignoredThisSecond = 0;
        if (this.#webSocket.isPaused) this.#webSocket.resume();
      });
    } else if (this.#framesThisSecond === MAX_FRAMES_PER_S) {
      this.#options.log.warn("the hub floods this board with messages; reading more slowly");
      this.#webSocket.pause();
    }
  }
}
