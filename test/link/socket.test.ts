/** An open connection: heartbeats, the limits on frames and buffers, compression, and how it ends. */
import assert from "node:assert/strict";
import type { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { WebSocket } from "ws";
import type { LinkOptions } from "../../src/hub/link.ts";
import { MAX_FRAME_BYTES } from "../../src/hub/serializer.ts";
import type { HandshakeRequest } from "../../src/hub/handshake.ts";
import { createBench, type Bench, type Peer, type TestLink, type TinyServerOptions } from "./bench.ts";

const HEARTBEAT_MS = 30_000;

describe("an open socket", () => {
  let bench: Bench;
  let link: TestLink;
  let peer: Peer;
  /** The messages of topic `device`, in their order. */
  let heard: unknown[];
  beforeEach(() => {
    bench = createBench();
    heard = [];
  });
  afterEach(async () => bench.end());

  const setUp = async (
    options: TinyServerOptions = {},
    linkOptions: Partial<LinkOptions> & { http?: Partial<HandshakeRequest> } = {},
  ): Promise<void> => {
    const server = await bench.serve(options);
    link = bench.link(server.url, { heartbeatMs: HEARTBEAT_MS, ...linkOptions });
    const channel = link.channel("device", {
      joinPayload: () => ({ padding: "x".repeat(3000) }),
      onJoined: () => bench.changed(),
      onMessage(event, payload) {
        heard.push([event, payload]);
        bench.changed();
      },
    });
    link.start();
    peer = await bench.until(() => server.peers[0]);
    await bench.until(() => channel.joined);
  };
  const ended = async (): Promise<string | undefined> => {
    await bench.until(() => link.status.connection === "disconnected");
    return link.status.lastError;
  };

  it("sends a heartbeat in each interval, with an empty payload and no join_ref", async () => {
    await setUp();
    await bench.advance(HEARTBEAT_MS - 1);
    assert.equal(await link.confirm(1000), true); // the ref of this heartbeat shows that no other was sent before
    assert.equal(peer.heartbeats, 1);
    for (const beats of [2, 3, 4]) {
      await bench.advance(beats === 2 ? 1 : HEARTBEAT_MS);
      await bench.until(() => peer.heartbeats === beats);
    }
    assert.equal(link.status.connection, "connected");
    assert.match(peer.texts.at(-1) ?? "", /^\[null,"\d+","phoenix","heartbeat",\{\}\]$/);
  });

  it("is torn down without a closing handshake after two heartbeats of silence", async () => {
    await setUp({ beats: false });
    await bench.advance(HEARTBEAT_MS);
    assert.equal(link.status.connection, "connected");
    await bench.until(() => peer.heartbeats === 1);
    await bench.advance(HEARTBEAT_MS);
    assert.equal(await ended(), "the connection ended: the hub was silent for 60 s (1006)");
    assert.equal(await bench.until(() => peer.closeCode), 1006, "no closing handshake");
  });

  it("is torn down when the other end has vanished without closing (half open)", async () => {
    await setUp({}, { heartbeatMs: HEARTBEAT_MS });
    peer.webSocket.pause(); // reads nothing and answers nothing any more, as a machine that lost its power
    await bench.advance(HEARTBEAT_MS);
    await bench.advance(HEARTBEAT_MS);
    assert.match((await ended()) ?? "", /silent for 60 s/);
    peer.webSocket.resume();
  });

  it("stays open while any frame arrives", async () => {
    await setUp({ beats: false });
    for (let times = 1; times <= 5; times += 1) {
      await bench.advance(HEARTBEAT_MS);
      peer.send(null, null, "device", "identify", {});
      await bench.until(() => heard.length === times);
    }
    assert.equal(link.status.connection, "connected");
  });

  it("confirms that the hub has read all sent before, but not without an answer in time", async () => {
    await setUp();
    assert.equal(await link.confirm(5000), true);
    peer.webSocket.pause();
    const late = link.confirm(5000);
    await bench.advance(4999);
    let settled = false;
    void late.then(() => (settled = true));
    await bench.advance(0);
    assert.equal(settled, false);
    await bench.advance(1);
    assert.equal(await late, false);
    const lost = link.confirm(5000);
    peer.webSocket.resume();
    peer.webSocket.terminate();
    assert.equal(await lost, false, "the connection ended first");
    await ended();
    assert.equal(await link.confirm(5000), false, "there is none");
  });

  it("ignores frames that can't be decoded, and stays open", async () => {
    await setUp();
    const garbage = ["", "nonsense", "{}", "[1,2,3]", "[]", '[null,null,{},"x",{}]', Buffer.from([0, 1, 2])];
    for (const data of garbage) peer.webSocket.send(data);
    peer.send(null, null, "nowhere", "x", {});
    peer.send(null, "77", "phoenix", "phx_reply", { status: "ok", response: {} });
    peer.send(null, null, "phoenix", "what", null);
    peer.send(null, null, "device", "identify", {});
    await bench.until(() => heard.length === 1);
    assert.equal(await link.confirm(1000), true);
    const logged = bench.lines.filter((line) => line.includes("ignored what the hub sent"));
    assert.equal(logged.length, 1, "it is logged once a second");
    await bench.advance(1000);
    peer.webSocket.send("nonsense");
    assert.equal(await link.confirm(1000), true);
    assert(bench.lines.at(-1)?.includes("8 bytes that are not JSON"));
  });

  it("reads a frame of 1 MiB, and is closed over a larger one", async () => {
    await setUp();
    const frame = (sizeBytes: number): string => {
      const head = '[null,null,"device","x","';
      return `${head}${"y".repeat(sizeBytes - head.length - 2)}"]`;
    };
    peer.webSocket.send(frame(MAX_FRAME_BYTES));
    await bench.until(() => heard.length === 1);
    peer.webSocket.send(frame(MAX_FRAME_BYTES + 1));
    assert.match((await ended()) ?? "", /Max payload size exceeded/);
    assert.equal(heard.length, 1);
    assert.equal(await bench.until(() => peer.closeCode), 1009);
  });

  it("is closed over a breach of the WebSocket protocol", async () => {
    await setUp();
    rawSocket(peer.webSocket).write(Buffer.from([0xff, 0xff, 0xff, 0xff])); // reserved bits
    assert.match((await ended()) ?? "", /Invalid WebSocket frame/);
  });

  it("compresses in both directions when both sides want it", async () => {
    await setUp({ deflate: true }, { http: { compress: true } });
    assert.equal(peer.webSocket.extensions, "permessage-deflate");
    assert.match(String(peer.request.headers["sec-websocket-extensions"]), /client_no_context_takeover/);
    assert.deepEqual(peer.frames[0]?.[4], { padding: "x".repeat(3000) });
    peer.send(null, null, "device", "x", { padding: "y".repeat(100_000) });
    await bench.until(() => heard.length === 1);
    assert.deepEqual(heard, [["x", { padding: "y".repeat(100_000) }]]);
  });

  it("is closed over a small frame that unpacks to more than 1 MiB", async () => {
    await setUp({ deflate: true }, { http: { compress: true } });
    peer.send(null, null, "device", "x", "y".repeat(MAX_FRAME_BYTES));
    assert.match((await ended()) ?? "", /Max payload size exceeded/);
    assert.deepEqual(heard, []);
  });

  for (const [deflate, compress] of [
    [false, true],
    [true, false],
  ] as const) {
    it(`does without compression when only the ${deflate ? "hub" : "board"} wants it`, async () => {
      await setUp({ deflate }, { http: { compress } });
      assert.equal(peer.webSocket.extensions, "");
      assert.equal(await link.confirm(1000), true);
    });
  }

  it("reads a flood in pieces and loses no message of it", async () => {
    await setUp();
    const total = 9000;
    const padding = "z".repeat(400); // more than one read from the kernel holds
    for (let n = 0; n < total; n += 1) peer.send(null, null, "device", "x", { n, padding });
    await bench.until(() => bench.lines.some((line) => line.includes("floods")));
    await bench.advance(0);
    const first = heard.length;
    assert(first >= 1900 && first < 3000, `${first} in the first second`);
    let seconds = 0;
    while (heard.length < total) {
      const before = heard.length;
      await bench.advance(1000);
      seconds += 1;
      await bench.until(() => heard.length === total || heard.length - before >= 1900);
    }
    assert(seconds >= 3, `${seconds} s`);
    assert.deepEqual(
      heard.map((entry) => (entry as [string, { n: number }])[1].n),
      Array.from({ length: total }, (_, n) => n),
    );
  });

  it("receives frames that arrive together with the 101", async () => {
    const early = JSON.stringify([null, null, "device", "early", {}]);
    const server = await bench.serve({ onPeer: ({ webSocket }) => webSocket.send(early) });
    link = bench.link(server.url);
    link.channel("device", {
      joinPayload: () => ({}),
      onJoined: () => bench.changed(),
      onMessage(event) {
        heard.push(event);
        bench.changed();
      },
    });
    link.start();
    await bench.until(() => heard.length === 1);
    assert.deepEqual(heard, ["early"]);
  });

  it("reports the board's own address on the connection", async () => {
    await setUp();
    assert.equal(link.status.localAddress, "127.0.0.1");
    peer.webSocket.terminate();
    await ended();
    assert.equal(link.status.localAddress, undefined);
  });

  it("buffers at most 4 MiB for a line that transmits nothing", async () => {
    await setUp();
    const channel = link.channel("console", {
      joinPayload: () => ({}),
      onJoined: () => bench.changed(),
      onMessage: () => undefined,
    });
    await bench.until(() => channel.joined);
    peer.webSocket.pause();
    let taken = 0;
    while (channel.push("up", "u".repeat(1024 * 1024 - 100))) taken += 1;
    assert(taken >= 4 && taken < 24, `${taken} MiB, those in the kernel's buffers included`);
    assert(bench.lines.some((line) => line.includes("the line is too slow")));
    assert.equal(await link.confirm(1000), false);
    peer.webSocket.terminate();
    await ended();
  });

  it("to a server without WebSocket is an error, not a crash", async () => {
    const server = await bench.serve({
      onUpgrade(_request, socket) {
        socket.end(
          "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: wrong\r\n\r\n",
        );
        return true;
      },
    });
    link = bench.link(server.url);
    link.start();
    assert.match((await ended()) ?? "", /Invalid Sec-WebSocket-Accept header/);
  });
});

function rawSocket(webSocket: WebSocket): Duplex {
  return (webSocket as WebSocket & { readonly _socket: Duplex })._socket;
}
