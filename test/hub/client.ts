/**
 * A device's end of a WebSocket without the agent, for tests of the stand-in hub itself: it sends any frame
 * and keeps all frames that come.
 */
import { once } from "node:events";
import { decode, encode } from "@msgpack/msgpack";
import { WebSocket, type ClientOptions } from "ws";
import { inTime } from "../eventually.ts";
import { createWaiting } from "./waiting.ts";

/** The result of an attempt to connect. */
export interface Attempt {
  /** 101 when it was accepted; undefined when the connection broke before an answer. */
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
  readonly error: string | undefined;
  /** Defined when the connection was accepted. */
  readonly device: RawDevice | undefined;
}

/** The device's end of a socket, with no protocol of its own. */
export interface RawDevice {
  /** Frames of the hub that have come so far, parsed; the replies to `beat` are left out. */
  readonly frames: readonly unknown[];
  /** Undefined while it is open. */
  readonly closeCode: number | undefined;
  send(frame: unknown): void;
  sendRaw(data: string | Buffer): void;
  /** Sends a WebSocket ping and waits for the pong. */
  ping(): Promise<void>;
  close(): void;
  /** Waits until the hub has sent `frames` frames in all. */
  count(frames: number): Promise<readonly unknown[]>;
  /** Sends a heartbeat and waits for its reply: then the hub has answered all frames sent before. */
  beat(): Promise<"answered" | "closed">;
  /** Waits for the close code. */
  closed(): Promise<number>;
}

/** Opens a WebSocket to a hub, as any device would, and reports what happened. */
export async function connect(url: string, options: ClientOptions = {}): Promise<Attempt> {
  const socket = new WebSocket(url, { perMessageDeflate: false, ...options });
  const waiting = createWaiting();
  const frames: unknown[] = [];
  const beats = new Set<unknown>();
  let sentBeats = 0;
  let answeredBeats = 0;
  let closeCode: number | undefined;
  const packed = url.includes("vsn=3.0.0");
  socket.on("message", (data: Buffer) => {
    const frame: unknown = packed ? decode(data) : JSON.parse(data.toString("utf8"));
    if (Array.isArray(frame) && beats.delete(frame[1])) answeredBeats += 1;
    else frames.push(frame);
    waiting.changed();
  });
  socket.on("close", (code) => {
    closeCode = code;
    waiting.changed();
  });
  const device: RawDevice = {
    frames,
    get closeCode() {
      return closeCode;
    },
    send: (frame) => socket.send(packed ? encode(frame) : JSON.stringify(frame)),
    sendRaw: (data) => socket.send(data),
    async ping() {
      const pong = once(socket, "pong");
      socket.ping();
      await inTime(pong, "a pong");
    },
    close: () => socket.close(1000),
    count: async (wanted) =>
      waiting.until(
        () => (frames.length >= wanted ? frames : undefined),
        () => `${frames.length} of ${wanted} frames: ${JSON.stringify(frames).slice(-600)}`,
      ),
    async beat() {
      sentBeats += 1;
      const beat = sentBeats;
      beats.add(`beat ${beat}`);
      device.send([null, `beat ${beat}`, "phoenix", "heartbeat", {}]);
      return waiting.until(
        () => (answeredBeats >= beat ? "answered" : closeCode === undefined ? undefined : "closed"),
        () => "no reply to a heartbeat",
      );
    },
    closed: async () =>
      waiting.until(
        () => closeCode,
        () => "the socket did not close",
      ),
  };
  const answer = new Promise<Attempt>((resolve) => {
    let headers: Attempt["headers"] = {};
    socket.once("upgrade", (response) => {
      headers = response.headers;
    });
    socket.once("open", () => resolve({ status: 101, headers, body: "", error: undefined, device }));
    socket.once("unexpected-response", (_request, response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text));
      response.once("end", () => {
        const status = response.statusCode;
        resolve({ status, headers: response.headers, body, error: undefined, device: undefined });
        socket.terminate();
      });
    });
    socket.on("error", (error) => {
      resolve({ status: undefined, headers, body: "", error: error.message, device: undefined });
    });
  });
  return inTime(answer, "the hub's answer to a handshake");
}
