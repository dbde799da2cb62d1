/**
 * How the link is stopped or reconnected at any moment of its life, and that nothing of it is left: timer,
 * socket or listener.
 */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { afterEach, beforeEach, describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { openWebSocket } from "../../src/hub/handshake.ts";
import { createBench, refuse, type Bench } from "./bench.ts";

const HOUR_MS = 3_600_000;
const HANDLERS = { joinPayload: () => ({}), onJoined: () => undefined, onMessage: () => undefined };

describe("the link to the hub", () => {
  let bench: Bench;
  beforeEach(() => {
    bench = createBench();
  });
  afterEach(async () => bench.end());

  const refusing = async (status: number) =>
    bench.serve({ onUpgrade: (_request, socket) => refuse(socket, status) });

  describe("asked to reconnect", () => {
    it("ends the connection and makes another at once", async () => {
      const server = await bench.serve();
      const link = bench.link(server.url);
      link.start();
      await bench.connected(link);
      link.reconnect("new credentials");
      await bench.connected(link, 2);
      assert.equal(bench.clock.monotonic(), 0);
      const between = link.statuses.find(({ nextAttemptMs }) => nextAttemptMs !== undefined);
      assert.equal(between?.nextAttemptMs, bench.clock.now());
      await bench.until(() => server.peers[0]?.closeCode);
      assert.equal(server.peers[0]?.closeCode, 1006);
    });

    it("does not wait for the next attempt", async () => {
      const server = await refusing(500);
      const link = bench.link(server.url);
      link.start();
      await bench.disconnected(link);
      link.reconnect("the network is back");
      await bench.disconnected(link, 2);
      assert.equal(bench.clock.monotonic(), 0);
      assert.equal(server.requests.length, 2);
      assert.equal(bench.waitMs(link), 2000, "the delays were not reset");
    });

    it("gives up an attempt that waits for the upgrade's answer or for credentials", async () => {
      let accept = false;
      const server = await bench.serve({ onUpgrade: () => !accept });
      let hang = false;
      const link = bench.link(server.url, {
        request: async () => {
          if (hang) await new Promise(() => undefined);
          return {
            url: new URL(server.url),
            headers: {},
            tls: undefined,
            compress: false,
            timeoutMs: 30_000,
          };
        },
      });
      link.start();
      await bench.until(() => server.requests.length === 1);
      hang = true;
      link.reconnect("first");
      await bench.until(() => link.signed.length === 2);
      hang = false;
      accept = true;
      link.reconnect("second");
      await bench.connected(link);
      assert.equal(bench.clock.monotonic(), 0);
    });

    it("twice in a row, connects once", async () => {
      const server = await bench.serve();
      const link = bench.link(server.url);
      link.start();
      await bench.connected(link);
      link.reconnect("one");
      link.reconnect("two");
      await bench.connected(link, 2);
      assert.equal(await link.confirm(1000), true);
      assert.equal(server.peers.length, 2);
    });
  });

  describe("that is stopped", () => {
    it("leaves its topics and closes with 1000", async () => {
      const server = await bench.serve();
      const link = bench.link(server.url);
      const channel = link.channel("device", { ...HANDLERS, onJoined: () => bench.changed() });
      link.start();
      await bench.until(() => channel.joined);
      await link.stop();
      const [peer] = server.peers;
      assert.equal(await bench.until(() => peer?.closeCode), 1000);
      assert.deepEqual(peer?.frames.at(-1), ["1", "2", "device", "phx_leave", {}]);
      assert.deepEqual(link.status, {
        connection: "disconnected",
        lastError: undefined,
        nextAttemptMs: undefined,
        awaySinceMs: bench.clock.monotonic(),
        localAddress: undefined,
        serializer: "json",
      });
      assert.equal(bench.clock.pending, 0);
      await link.stop(); // a second time changes nothing
    });

    it("does not wait for a hub that does not answer the close", async () => {
      const server = await bench.serve();
      const link = bench.link(server.url);
      link.start();
      await bench.connected(link);
      await bench.until(() => server.peers[0]);
      server.peers[0]?.webSocket.pause();
      let stopped = false;
      void link.stop().then(() => {
        stopped = true;
        bench.changed();
      });
      await bench.advance(2000);
      await bench.until(() => stopped);
      server.peers[0]?.webSocket.resume();
    });

    it("gives up an attempt", async () => {
      let hungUp = false;
      const server = await bench.serve({
        onUpgrade(_request, socket) {
          socket.resume().once("end", () => {
            hungUp = true;
            bench.changed();
          });
          return true;
        },
      });
      const link = bench.link(server.url);
      link.start();
      await bench.until(() => server.requests.length === 1);
      await link.stop();
      assert.equal(link.status.connection, "disconnected");
      assert.equal(bench.clock.pending, 0);
      await bench.until(() => hungUp);
    });

    it("does not wait for credentials", async () => {
      const link = bench.link("ws://127.0.0.1:1/", {
        request: async () => new Promise<never>(() => undefined),
      });
      link.start();
      await bench.until(() => link.signed.length === 1);
      await link.stop();
      assert.equal(link.status.connection, "disconnected");
    });

    it("ends its wait for the next attempt", async () => {
      const server = await refusing(503);
      const link = bench.link(server.url);
      link.start();
      await bench.disconnected(link);
      await link.stop();
      assert.equal(link.status.nextAttemptMs, undefined);
      assert.match(link.status.lastError ?? "", /503/, "the status still shows the last failure");
      assert.equal(bench.clock.pending, 0);
      await bench.advance(HOUR_MS);
      assert.equal(server.requests.length, 1);
    });

    it("closes a connection that was made at the same moment", async () => {
      const server = await bench.serve();
      let stopped: Promise<void> | undefined;
      const link = bench.link(server.url);
      link.on("status", ({ connection }) => {
        if (connection === "connected") stopped = link.stop();
      });
      link.channel("device", HANDLERS);
      link.start();
      await bench.until(() => stopped !== undefined);
      await stopped;
      assert.equal(bench.clock.pending, 0);
      assert.equal(link.status.connection, "disconnected");
      await bench.until(() => server.peers[0]?.closeCode);
    });

    it("does nothing when it was stopped before its start", async () => {
      const server = await bench.serve();
      const link = bench.link(server.url);
      await link.stop();
      link.start();
      link.start();
      await setImmediate();
      await link.stop();
      assert.equal(server.requests.length, 0);
    });

    it("leaves nothing behind after three hundred starts and stops", async () => {
      const server = await bench.serve();
      const silent = await bench.serve({ onUpgrade: () => true });
      const errors: unknown[] = [];
      const onWarning = (warning: unknown): void => void errors.push(warning);
      process.on("warning", onWarning);
      const before = resources();
      for (let times = 0; times < 300; times += 1) {
        const kind = times % 3;
        const link = bench.link(kind === 1 ? silent.url : server.url);
        const channel = link.channel("device", { ...HANDLERS, onJoined: () => bench.changed() });
        link.start();
        if (kind === 0) await bench.until(() => channel.joined);
        if (kind === 1) await bench.until(() => silent.requests.length === Math.ceil(times / 3));
        await link.stop(); // the third kind: it is stopped before anything happened
      }
      await bench.until(() => server.peers.every(({ closeCode }) => closeCode !== undefined));
      await server.stop();
      await silent.stop();
      assert.equal(bench.clock.pending, 0);
      // Destroyed sockets vanish a few turns of the event loop later.
      for (let turns = 0; turns < 100 && added(before, resources()).length > 0; turns += 1)
        await setImmediate();
      assert.deepEqual(added(before, resources()), []);
      assert.deepEqual(errors, []);
      process.off("warning", onWarning);
    });
  });

  it("removes an attempt's listener from its abort signal", async () => {
    const server = await bench.serve({
      onUpgrade: (request, socket) => request.url === "/no" && refuse(socket, 500),
    });
    const { signal } = new AbortController();
    const attempt = { headers: {}, tls: undefined, compress: false, timeoutMs: 1000 };
    const { webSocket } = await openWebSocket({ ...attempt, url: new URL(server.url) }, bench.clock, signal);
    webSocket.terminate();
    await assert.rejects(openWebSocket({ ...attempt, url: new URL("/no", server.url) }, bench.clock, signal));
    assert.equal(getEventListeners(signal, "abort").length, 0);
  });

  it("keeps no listeners when the connection fails again and again", async () => {
    const server = await bench.serve({ onPeer: ({ webSocket }) => webSocket.terminate() });
    const warnings: unknown[] = [];
    const onWarning = (warning: unknown): void => void warnings.push(warning);
    process.on("warning", onWarning);
    const link = bench.link(server.url, { reconnect: { minMs: 1, maxMs: 1, spreadMs: 1, jitter: 0 } });
    link.channel("device", HANDLERS);
    link.start();
    for (let times = 1; times <= 100; times += 1) {
      await bench.disconnected(link, times);
      assert.equal(bench.clock.pending, 1, "the wait");
      await bench.advance(1);
    }
    process.off("warning", onWarning);
    assert.deepEqual(warnings, []);
  });
});

function resources(): string[] {
  return process.getActiveResourcesInfo().sort();
}

/** The entries that `after` has more often than `before`, without servers that were closed in between. */
function added(before: readonly string[], after: readonly string[]): string[] {
  const left = [...before];
  return after.filter((name) => {
    const at = left.indexOf(name);
    if (at === -1) return true;
    left.splice(at, 1);
    return false;
  });
}
