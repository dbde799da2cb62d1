/**
 * The bench of the link's tests: links on a fake clock, small WebSocket servers that do as the test says, and
 * waits that check their condition after each event.
 */
import assert from "node:assert/strict";
import { createServer as createHttpServer, type IncomingMessage } from "node:http";
import { createServer as createHttpsServer, type ServerOptions } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import { HubLink, type LinkOptions, type LinkStatus } from "../../src/hub/link.ts";
import { jsonSerializer } from "../../src/hub/serializer.ts";
import type { HandshakeRequest } from "../../src/hub/handshake.ts";
import type { Log } from "../../src/platform/log.ts";
import { inTime } from "../eventually.ts";
import { recordingLog } from "../board/recording-log.ts";
import { createWaiting } from "../hub/waiting.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";

/** A frame as it is on the wire. */
export type WireFrame = [
  joinRef: string | null,
  ref: string | null,
  topic: string,
  event: string,
  payload: unknown,
];

/** One connection as the server sees it. */
export interface Peer {
  readonly request: IncomingMessage;
  readonly webSocket: WebSocket;
  /** All messages of the client, heartbeats included. */
  readonly texts: readonly string[];
  /** All messages of the client, except heartbeats. */
  readonly frames: readonly WireFrame[];
  readonly heartbeats: number;
  readonly closeCode: number | undefined;
  send(...frame: WireFrame): void;
}

export interface TinyServerOptions {
  readonly tls?: ServerOptions;
  readonly deflate?: boolean;
  /** The header of that name in answers of 101; default none. */
  readonly date?: string;
  /** Answers heartbeats; default true. */
  readonly beats?: boolean;
  /** Answers joins with ok; default true. */
  readonly joins?: boolean;
  /** Returns true when it has answered the upgrade itself. */
  readonly onUpgrade?: (request: IncomingMessage, socket: Duplex) => boolean;
  readonly onPeer?: (peer: Peer) => void;
}

/** A WebSocket server whose behaviour each test chooses. */
export interface TinyServer {
  readonly port: number;
  /** `ws://127.0.0.1:PORT/` or `wss://localhost:PORT/`. */
  readonly url: string;
  /** Every upgrade, accepted or not. */
  readonly requests: readonly IncomingMessage[];
  readonly peers: readonly Peer[];
  stop(): Promise<void>;
}

/** The settings of a link that a test may change. */
export interface TestLinkOptions extends Partial<LinkOptions> {
  readonly http?: Partial<HandshakeRequest>;
  readonly random?: () => number;
}

/** A link that keeps each status it reports. */
export class TestLink extends HubLink {
  readonly statuses: LinkStatus[] = [];
  /** The time of each request's signature. */
  readonly signed: readonly number[];

  constructor(options: LinkOptions, signed: readonly number[]) {
    super(options);
    this.signed = signed;
    this.on("status", (status) => this.statuses.push(status));
  }
}

/** A fake clock, servers, links, and waits. */
export interface Bench {
  readonly clock: FakeClock;
  readonly lines: readonly string[];
  readonly log: Log;
  serve(options?: TinyServerOptions): Promise<TinyServer>;
  link(url: string, options?: TestLinkOptions): TestLink;
  /** Waits until `look` finds something. It is called after each event on the bench. */
  until<T>(look: () => T | undefined | false): Promise<T>;
  /** Waits until the link has been connected `times` times. */
  connected(link: TestLink, times?: number): Promise<void>;
  disconnected(link: TestLink, times?: number): Promise<void>;
  /** How long until the link's next attempt. */
  waitMs(link: TestLink): number;
  /** Reports an event that the bench can't see, so that all waits check their conditions. */
  changed(): void;
  advance(ms: number): Promise<void>;
  /** Stops all links and servers, and fails when a timer is left. */
  end(): Promise<void>;
}

export function createBench(): Bench {
  const clock = new FakeClock();
  const waiting = createWaiting();
  const kept: string[] = [];
  const recording = recordingLog(kept);
  const noting =
    (write: Log["info"]): Log["info"] =>
    (message, fields) => {
      write(message, fields);
      waiting.changed();
    };
  const log: Log = {
    error: noting(recording.error.bind(recording)),
    warn: noting(recording.warn.bind(recording)),
    info: noting(recording.info.bind(recording)),
    debug: noting(recording.debug.bind(recording)),
    scope: () => log,
  };
  const links: TestLink[] = [];
  const servers: TinyServer[] = [];

  const until: Bench["until"] = async (look) =>
    waiting.until(
      () => {
        const found = look();
        return found === false ? undefined : found;
      },
      () => `${look.toString()}; last lines:\n${kept.slice(-8).join("\n")}`,
    );
  const came = async (link: TestLink, name: LinkStatus["connection"], times: number): Promise<void> => {
    await until(() => link.statuses.filter(({ connection }) => connection === name).length === times);
  };

  return {
    clock,
    lines: kept,
    log,
    async serve(options = {}) {
      const server = await tinyServer(options, () => waiting.changed());
      servers.push(server);
      return server;
    },
    link(url, { http = {}, random = () => 0, ...options } = {}) {
      const signed: number[] = [];
      const request: HandshakeRequest = {
        url: new URL(url),
        headers: {},
        tls: undefined,
        compress: false,
        timeoutMs: 30_000,
        ...http,
      };
      const link = new TestLink(
        {
          serializer: jsonSerializer,
          reconnect: { minMs: 1000, maxMs: 60_000, spreadMs: 30_000, jitter: 1 },
          heartbeatMs: 30_000,
          world: testWorld({ clock, random }),
          log,
          ...options,
          request: async (timeMs, vsn) => {
            signed.push(timeMs);
            waiting.changed();
            return (await options.request?.(timeMs, vsn)) ?? request;
          },
        },
        signed,
      );
      link.on("status", () => waiting.changed());
      links.push(link);
      return link;
    },
    until,
    connected: async (link, times = 1) => came(link, "connected", times),
    disconnected: async (link, times = 1) => came(link, "disconnected", times),
    waitMs: (link) => (link.status.nextAttemptMs ?? NaN) - clock.now(),
    changed: () => waiting.changed(),
    async advance(ms) {
      await clock.advance(ms);
      waiting.changed();
    },
    async end() {
      for (const link of links) await link.stop();
      for (const server of servers) await server.stop();
      waiting.stop();
      assert.equal(clock.pending, 0, "no timer is left");
    },
  };
}

async function tinyServer(options: TinyServerOptions, changed: () => void): Promise<TinyServer> {
  const requests: IncomingMessage[] = [];
  const peers: Peer[] = [];
  const sockets = new Set<Duplex>();
  const http = options.tls === undefined ? createHttpServer() : createHttpsServer(options.tls);
  const webSockets = new WebSocketServer({ noServer: true, perMessageDeflate: options.deflate ?? false });
  webSockets.on("headers", (headers) => options.date !== undefined && headers.push(`date: ${options.date}`));
  http.on("connection", (socket: Duplex) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy()); // clients of these tests cut lines
  });
  http.on("tlsClientError", () => changed());
  http.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    requests.push(request);
    if (options.onUpgrade?.(request, socket) === true) {
      changed();
      return;
    }
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      const peer = createPeer(request, webSocket, options, changed);
      peers.push(peer);
      options.onPeer?.(peer);
      changed();
    });
  });
  await new Promise<void>((resolve) => {
    http.listen(0, "127.0.0.1", resolve);
  });
  const { port } = http.address() as AddressInfo;
  return {
    port,
    url: options.tls === undefined ? `ws://127.0.0.1:${port}/` : `wss://localhost:${port}/`,
    requests,
    peers,
    async stop() {
      const closed = new Promise<void>((resolve) => http.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await inTime(closed, "the server closes");
    },
  };
}

function createPeer(
  request: IncomingMessage,
  webSocket: WebSocket,
  { beats = true, joins = true }: TinyServerOptions,
  changed: () => void,
): Peer {
  const texts: string[] = [];
  const frames: WireFrame[] = [];
  let heartbeats = 0;
  let closeCode: number | undefined;
  const send = (...frame: WireFrame): void => webSocket.send(JSON.stringify(frame));
  webSocket.on("error", () => undefined); // a client that breaks the protocol; the close follows
  webSocket.on("message", (data: Buffer) => {
    const text = data.toString("utf8");
    texts.push(text);
    const frame = JSON.parse(text) as WireFrame;
    const [joinRef, ref, topic, event] = frame;
    const isHeartbeat = topic === "phoenix" && event === "heartbeat";
    if (isHeartbeat) heartbeats += 1;
    else frames.push(frame);
    if (isHeartbeat ? beats : joins && event === "phx_join") {
      send(joinRef, ref, topic, "phx_reply", { status: "ok", response: {} });
    }
    changed();
  });
  webSocket.on("close", (code) => {
    closeCode = code;
    changed();
  });
  return {
    request,
    webSocket,
    texts,
    frames,
    send,
    get heartbeats() {
      return heartbeats;
    },
    get closeCode() {
      return closeCode;
    },
  };
}

/** Answers an upgrade with plain HTTP. */
export function refuse(
  socket: Duplex,
  status: number,
  headers: Readonly<Record<string, string>> = {},
): boolean {
  const lines = Object.entries({ "content-length": "0", connection: "close", ...headers });
  socket.end(
    `HTTP/1.1 ${status} No\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`,
  );
  return true;
}
