/**
 * One socket of a device on the stand-in hub: it reads frames, hands them to the channels of their topics,
 * and sends the channels' answers. A channel that crashes ends alone; its socket stays open, as in Phoenix.
 */
import type { WebSocket } from "ws";
import type { Cancel, Clock } from "../../src/platform/clock.ts";
import type { Channel, ChannelContext, ChannelHub } from "./channels/channel.ts";
import { joinConsole } from "./channels/console.ts";
import { joinDevice } from "./channels/device.ts";
import { joinExtensions } from "./channels/extensions.ts";
import { ChannelCrash } from "./crash.ts";
import type { DeviceRecord } from "./device-record.ts";
import type { FaultBox } from "./faults.ts";
import { UndecodableFrame, type Frame, type Serializer } from "./frames.ts";

/** The hub as a session sees it. */
export interface SessionHub extends ChannelHub {
  readonly clock: Clock;
  readonly faults: FaultBox;
  /** A frame passes. */
  onFrame(record: DeviceRecord, direction: "received" | "sent", frame: Frame): void;
  /** Something in the record may have changed. */
  onChange(): void;
  /** A topic was joined or has ended. */
  onTopics(session: Session): void;
  onClose(session: Session, code: number): void;
}

interface Joined {
  readonly topic: string;
  readonly joinRef: unknown;
  readonly channel: Channel;
}

const SILENCE_MS = 180_000;

/**
 * One socket of a device: Phoenix's dispatch of frames to channels. Topics are the server's own:
 * `device` means `device:NUMBER` here, and goes out as `device` again.
 */
export class Session {
  readonly record: DeviceRecord;
  readonly #socket: WebSocket;
  readonly #hub: SessionHub;
  readonly #serializer: Serializer;
  readonly #joined = new Map<unknown, Joined>();
  #faultTimers: Cancel[] = [];
  #endSilence: Cancel = () => undefined;

  constructor(socket: WebSocket, record: DeviceRecord, serializer: Serializer, hub: SessionHub) {
    this.#socket = socket;
    this.record = record;
    this.#serializer = serializer;
    this.#hub = hub;
    socket.on("message", (data, isBinary) => {
      this.#heard();
      this.#receive(data as Buffer, isBinary); // `nodebuffer` is the binaryType
    });
    socket.on("ping", () => this.#heard());
    socket.on("pong", () => this.#heard());
    // Frames that break the WebSocket protocol; `ws` closes with their code by itself.
    socket.on("error", () => undefined);
    socket.on("close", (code) => {
      this.#end();
      hub.onClose(this, code);
    });
    this.#faultTimers = hub.faults.apply("open", {
      clock: hub.clock,
      close: (code) => this.close(code),
      terminate: () => this.terminate(),
      sendRaw: (raw) => this.sendRaw(raw),
    });
    this.#heard();
    if (socket.readyState !== socket.OPEN) this.#end(); // a fault has closed it already
  }

  /** Closes the socket with a closing handshake. Its channels end at once, and later frames are ignored. */
  close(code: number): void {
    this.#socket.close(code);
    this.#end();
  }

  /** Ends the connection without a closing handshake. */
  terminate(): void {
    this.#socket.terminate();
    this.#end();
  }

  sendRaw(data: string | Buffer): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(data);
  }

  /** Sends to the device whether it has joined the topic or not; the refs are those NervesHub would use. */
  send(topic: string, event: string, payload: unknown): void {
    const isBroadcast = topic === "device" && event !== "scripts/run";
    const joinRef = isBroadcast ? null : (this.#joined.get(this.#internal(topic))?.joinRef ?? null);
    this.#send({ joinRef, ref: null, topic, event, payload });
  }

  /** Whether the topic, in the device's words, is joined. */
  hasJoined(topic: string): boolean {
    return this.#joined.has(this.#internal(topic));
  }

  /** Ends a channel as if its process had died. */
  crashChannel(topic: string, why = "asked to"): void {
    const joined = this.#joined.get(this.#internal(topic));
    if (joined !== undefined) this.#crash(joined, why);
  }

  #heard(): void {
    this.#endSilence();
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#endSilence = this.#hub.clock.after(SILENCE_MS, () => this.close(1002));
  }

  #end(): void {
    this.#endSilence();
    for (const cancel of this.#faultTimers) cancel();
    for (const joined of [...this.#joined.values()]) this.#drop(joined);
  }

  #receive(data: Buffer, isBinary: boolean): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    let frame: Frame;
    try {
      frame = this.#serializer.decode(data, isBinary);
    } catch (error) {
      if (!(error instanceof UndecodableFrame)) throw error;
      this.close(1011);
      return;
    }
    if (this.#hub.faults.apply("incoming", frame).includes(true)) return;
    const { joinRef, ref, topic, event, payload } = frame;
    this.record.received.push({ atMs: this.#hub.nowMs(), topic, event, payload, joinRef, ref });
    this.#hub.onFrame(this.record, "received", frame);
    this.#dispatch({ ...frame, topic: this.#internal(topic) });
    this.#hub.onChange();
  }

  #dispatch(frame: Frame): void {
    const { joinRef, ref, topic, event } = frame;
    if (topic === "phoenix" && event === "heartbeat") {
      this.#reply({ joinRef: null, ref, topic }, "ok", {});
      return;
    }
    const joined = this.#joined.get(topic);
    if (event === "phx_join") {
      this.#join(frame, joined);
    } else if (joined === undefined) {
      if (event === "phx_leave") this.#reply({ joinRef, ref, topic }, "ok", {});
      else this.#reply({ joinRef: null, ref, topic }, "error", { reason: "unmatched topic" });
    } else if (joined.joinRef !== joinRef) {
      return; // meant for an earlier join: dropped without a word
    } else if (event === "phx_leave") {
      this.#reply({ joinRef, ref, topic }, "ok", {});
      this.#drop(joined);
      this.#sendClose(joined);
    } else {
      this.#push(joined, frame);
    }
  }

  #join(frame: Frame, previous: Joined | undefined): void {
    const { joinRef, ref, topic, payload } = frame;
    const open = CHANNELS.find(({ matches }) => matches(topic))?.open;
    if (typeof topic !== "string" || open === undefined) {
      this.#reply({ joinRef: null, ref, topic }, "error", { reason: "unmatched topic" });
      return;
    }
    if (previous !== undefined) this.#drop(previous);
    let channel: Channel | undefined;
    try {
      channel = open(this.#context(topic, joinRef), payload);
      this.#joined.set(topic, { topic, joinRef, channel });
      this.#hub.onTopics(this);
      this.#reply({ joinRef, ref, topic }, "ok", channel.response);
    } catch (error) {
      if (!(error instanceof ChannelCrash)) throw error;
      this.record.crashes.push({ topic: external(topic), why: error.message });
      this.#reply({ joinRef, ref, topic }, "error", { reason: "join crashed" });
    }
    if (previous !== undefined) this.#sendClose(previous);
    channel?.afterJoin();
  }

  #push(joined: Joined, { ref, topic, event, payload }: Frame): void {
    try {
      const reply = joined.channel.handle(event, payload);
      if (reply !== undefined) {
        this.#reply({ joinRef: joined.joinRef, ref, topic }, reply.status, reply.response);
      }
    } catch (error) {
      if (!(error instanceof ChannelCrash)) throw error;
      this.#crash(joined, error.message);
    }
  }

  #context(topic: string, joinRef: unknown): ChannelContext {
    return {
      record: this.record,
      hub: this.#hub,
      push: (event, payload) => this.#send({ joinRef, ref: null, topic: external(topic), event, payload }),
      broadcast: (event, payload) => {
        // Broadcasts go to the device's own topic only, so a join of another `device:…` gets none.
        if (topic !== this.#internal("device")) return;
        this.#send({ joinRef: null, ref: null, topic: external(topic), event, payload });
      },
    };
  }

  #crash(joined: Joined, why: string): void {
    this.record.crashes.push({ topic: external(joined.topic), why });
    this.#drop(joined);
    const { topic, joinRef } = joined;
    const payload = { reason: "channel_crash" };
    this.#send({ joinRef, ref: joinRef, topic: external(topic), event: "phx_error", payload });
  }

  #sendClose({ topic, joinRef }: Joined): void {
    this.#send({ joinRef, ref: joinRef, topic: external(topic), event: "phx_close", payload: {} });
  }

  #drop(joined: Joined): void {
    joined.channel.close();
    this.#joined.delete(joined.topic);
    this.#hub.onTopics(this);
  }

  #reply(to: Pick<Frame, "joinRef" | "ref" | "topic">, status: "ok" | "error", response: unknown): void {
    this.#send({ ...to, topic: external(to.topic), event: "phx_reply", payload: { status, response } });
  }

  #send(frame: Frame): void {
    if (this.#hub.faults.apply("outgoing", frame).includes(true)) return;
    this.sendRaw(this.#serializer.encode(frame));
    this.#hub.onFrame(this.record, "sent", frame);
  }

  #internal(topic: unknown): unknown {
    return topic === "device" ? `device:${this.record.id}` : topic;
  }
}

const CHANNELS: readonly {
  readonly matches: (topic: unknown) => boolean;
  readonly open: (context: ChannelContext, params: unknown) => Channel;
}[] = [
  { matches: isDeviceTopic, open: joinDevice },
  { matches: (topic) => topic === "console", open: joinConsole },
  { matches: (topic) => topic === "extensions", open: joinExtensions },
];

function isDeviceTopic(topic: unknown): topic is string {
  return typeof topic === "string" && topic.startsWith("device:");
}

function external(topic: string): string;
function external(topic: unknown): unknown;
function external(topic: unknown): unknown {
  return isDeviceTopic(topic) ? "device" : topic;
}
