/**
 * How the link reconnects after each kind of failure, and that two devices with one identity do not push each
 * other off the hub in a fast loop.
 */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { HandshakeRequest } from "../../src/hub/handshake.ts";
import { createBench, refuse, type Bench, type TestLink, type TinyServer } from "./bench.ts";

const HOUR_MS = 3_600_000;
const HANDLERS = { joinPayload: () => ({}), onJoined: () => undefined, onMessage: () => undefined };

describe("the link to the hub", () => {
  let bench: Bench;
  beforeEach(() => {
    bench = createBench();
  });
  afterEach(async () => bench.end());

  /** Waits for `times` failures and for the delay after each. @returns the delays */
  const delays = async (link: TestLink, times: number): Promise<number[]> => {
    const seen: number[] = [];
    for (let n = 1; n <= times; n += 1) {
      await bench.disconnected(link, n);
      seen.push(bench.waitMs(link));
      await bench.advance(bench.waitMs(link) - 1);
      assert.equal(link.status.connection, "disconnected", "the delay has not passed yet");
      await bench.advance(1);
    }
    return seen;
  };
  const refusing = async (status: number): Promise<TinyServer> =>
    bench.serve({ onUpgrade: (_request, socket) => refuse(socket, status) });

  describe("comes back", () => {
    it("without a limit of attempts, with growing delays, each time with a new request", async () => {
      const server = await refusing(500);
      const link = bench.link(server.url);
      link.start();
      assert.deepEqual(
        await delays(link, 9),
        [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000],
      );
      await bench.disconnected(link, 10);
      assert.equal(server.requests.length, 10);
      assert.equal(link.signed.length, 10);
      assert.equal(link.status.lastError, "refused with 500");
    });

    it("after the time that a hub which refuses asks for, ten minutes at most", async () => {
      const asked = ["120", "Thu, 01 Jan 1970 00:01:30 GMT", "86400", "soon"];
      const server = await bench.serve({
        onUpgrade: (_request, socket) =>
          refuse(socket, 503, {
            date: "Thu, 01 Jan 1970 00:01:00 GMT",
            "retry-after": asked[server.requests.length - 1] ?? "0",
          }),
      });
      const link = bench.link(server.url);
      link.start();
      assert.deepEqual(await delays(link, 4), [121_000, 32_000, 604_000, 8000]);
    });

    it("and knows since when the hub has been away, across all attempts", async () => {
      const refused = await refusing(500);
      const link = bench.link(refused.url);
      link.start();
      await delays(link, 3);
      assert.equal(link.status.awaySinceMs, 0);
      await link.stop();
      const server = await bench.serve();
      const good = bench.link(server.url);
      good.start();
      await bench.connected(good);
      assert.equal(good.status.awaySinceMs, undefined);
      await bench.advance(5000);
      const lostMs = bench.clock.monotonic();
      server.peers[0]?.webSocket.terminate();
      await bench.disconnected(good);
      await bench.advance(500);
      assert.equal(good.status.awaySinceMs, lostMs);
    });

    it("with random delays, also the first one", async () => {
      const server = await refusing(500);
      const randoms = [0.2, 0.9, 0.5, 0];
      const link = bench.link(server.url, { random: () => randoms.shift() ?? 0 });
      link.start();
      assert.deepEqual((await delays(link, 4)).map(Math.round), [800, 200, 2000, 8000]);
    });

    it("when it can't make a request, for example without a key file", async () => {
      const server = await bench.serve();
      let failures = 2;
      const link = bench.link(server.url, {
        request: async () => {
          failures -= 1;
          await setImmediate();
          if (failures >= 0) throw new Error("key file /data/key.pem does not exist");
          return { url: new URL(server.url), headers: {}, tls: undefined, compress: false, timeoutMs: 1000 };
        },
      });
      link.start();
      await delays(link, 2);
      assert.equal(
        link.statuses.find(({ lastError }) => lastError)?.lastError,
        "key file /data/key.pem does not exist",
      );
      await bench.connected(link);
      assert.equal(link.status.lastError, undefined);
    });

    it("when it can't send the request because of a bad header", async () => {
      const server = await bench.serve();
      const link = bench.link(server.url, { http: { headers: { "x-nh-key": "line\nbreak" } } });
      link.start();
      await bench.disconnected(link);
      assert.match(link.status.lastError ?? "", /Invalid character in header content/);
      assert.equal(bench.waitMs(link), 1000);
    });

    it("with growing delays when the server accepts and then closes", async () => {
      const server = await bench.serve({ onPeer: ({ webSocket }) => webSocket.close(1012) });
      const link = bench.link(server.url);
      link.start();
      assert.deepEqual(await delays(link, 5), [1000, 2000, 4000, 8000, 16_000]);
      assert.equal(link.statuses.filter(({ connection }) => connection === "connected").length, 5);
      assert.match(link.statuses.findLast(({ lastError }) => lastError)?.lastError ?? "", /\(1012\)/);
    });

    it("at a random moment of the spread after a connection that held for a minute, since a fleet may have lost it", async () => {
      const server = await bench.serve();
      let random = 0;
      const link = bench.link(server.url, { heartbeatMs: HOUR_MS, random: () => random });
      link.start();
      const cutAfter = async (times: number, heldMs: number): Promise<number> => {
        await bench.connected(link, times);
        await bench.advance(heldMs);
        server.peers.at(-1)?.webSocket.terminate();
        await bench.disconnected(link, times);
        const delayMs = bench.waitMs(link);
        await bench.advance(delayMs);
        return delayMs;
      };
      assert.equal(await cutAfter(1, 0), 1000);
      assert.equal(await cutAfter(2, 59_999), 2000);
      assert.equal(await cutAfter(3, 60_000), 30_000);
      assert.equal(await cutAfter(4, 0), 60_000);
      random = 0.75;
      assert.equal(await cutAfter(5, 60_000), 7500);
    });

    it("soon when an operator asks it to, also after a connection that held for a minute", async () => {
      const server = await bench.serve();
      const link = bench.link(server.url, { heartbeatMs: HOUR_MS });
      link.start();
      await bench.connected(link);
      await bench.until(() => server.peers.length === 1);
      await bench.advance(60_000);
      server.peers[0]?.webSocket.close(1001);
      await bench.disconnected(link);
      assert.equal(bench.waitMs(link), 1000);
    });

    it("soon when the board's own network went away, and within the spread when the hub did after that", async () => {
      const server = await bench.serve();
      let attached = true;
      const link = bench.link(server.url, { heartbeatMs: HOUR_MS, hasAddress: () => attached });
      link.start();
      await bench.connected(link);
      await bench.until(() => server.peers.length === 1);
      await bench.advance(60_000);
      attached = false;
      server.peers[0]?.webSocket.terminate();
      await bench.disconnected(link);
      assert.equal(bench.waitMs(link), 1000);
      await server.stop();
      await bench.advance(1000);
      await bench.disconnected(link, 2);
      assert.equal(bench.waitMs(link), 2000, "the network is still away");
      attached = true;
      await bench.advance(2000);
      await bench.disconnected(link, 3);
      assert.equal(bench.waitMs(link), 30_000);
    });

    it("soon while no packet leaves the board", async () => {
      const server = await bench.serve();
      let code = "";
      const link = bench.link(server.url, {
        heartbeatMs: HOUR_MS,
        request: async () => {
          if (code !== "") throw Object.assign(new Error("connect"), { code });
          return Promise.resolve({
            url: new URL(server.url),
            headers: {},
            tls: undefined,
            compress: false,
            timeoutMs: 1000,
          });
        },
      });
      link.start();
      await bench.connected(link);
      await bench.until(() => server.peers.length === 1);
      await bench.advance(60_000);
      code = "ENETUNREACH";
      link.reconnect("test");
      await bench.disconnected(link);
      await bench.advance(0);
      for (const [times, expected] of [
        [2, 1000],
        [3, 2000],
      ] as const) {
        await bench.disconnected(link, times);
        assert.equal(bench.waitMs(link), expected);
        if (times === 3) code = "ECONNREFUSED";
        await bench.advance(expected);
      }
      await bench.disconnected(link, 4);
      assert.equal(bench.waitMs(link), 30_000);
    });

    it("with growing delays when each attempt takes a minute", async () => {
      const held: (() => void)[] = [];
      const server = await bench.serve({ onPeer: ({ webSocket }) => webSocket.close(1012) });
      const request: HandshakeRequest = {
        url: new URL(server.url),
        headers: {},
        tls: undefined,
        compress: false,
        timeoutMs: 30_000,
      };
      const link = bench.link(server.url, {
        request: async () => {
          await new Promise<void>((resolve) => held.push(resolve));
          return request;
        },
      });
      link.start();
      for (const delayMs of [1000, 2000, 4000]) {
        const go = await bench.until(() => held.shift());
        await bench.advance(61_000);
        go();
        await bench.until(() => link.status.connection === "disconnected");
        assert.equal(bench.waitMs(link), delayMs);
        await bench.advance(delayMs);
      }
      (await bench.until(() => held.shift()))();
    });

    it("when a listener to its status throws", async () => {
      const server = await bench.serve();
      const link = bench.link(server.url);
      link.on("status", () => {
        throw new Error("no ears");
      });
      link.channel("device", HANDLERS);
      link.start();
      await bench.connected(link);
      await bench.until(() => server.peers[0]?.frames.length === 1);
      server.peers[0]?.webSocket.terminate();
      await bench.disconnected(link);
      await bench.advance(1000);
      await bench.connected(link, 2);
      assert(bench.lines.includes("error reporting the connection: no ears"));
    });

    it("and joins its topics in the order they were added", async () => {
      const server = await bench.serve();
      const link = bench.link(server.url);
      link.channel("device", HANDLERS);
      link.channel("console", HANDLERS);
      link.start();
      await bench.until(() => server.peers[0]?.frames.length === 2);
      link.channel("extensions", HANDLERS);
      await bench.until(() => server.peers[0]?.frames.length === 3);
      link.reconnect("test");
      await bench.until(() => server.peers[1]?.frames.length === 3);
      for (const peer of server.peers) {
        assert.deepEqual(
          peer.frames.map(([joinRef, ref, topic]) => [joinRef, ref, topic]),
          [
            ["1", "1", "device"],
            ["2", "2", "console"],
            ["3", "3", "extensions"],
          ],
        );
      }
    });
  });

  describe("with a twin", () => {
    const kick = async (
      link: TestLink,
      server: TinyServer,
      times: number,
      afterMs: number,
    ): Promise<void> => {
      await bench.connected(link, times);
      await bench.until(() => server.peers.length === times);
      await bench.advance(afterMs);
      server.peers.at(-1)?.webSocket.close(1001);
      await bench.disconnected(link, times);
    };

    it("waits a long time once the hub closed it three times within seconds, and says why", async () => {
      const server = await bench.serve();
      const link = bench.link(server.url, { random: () => 0.5 });
      link.channel("device", HANDLERS);
      link.start();
      await kick(link, server, 1, 0);
      assert.equal(bench.waitMs(link), 500);
      assert.match(link.status.lastError ?? "", /\(1001\)/);
      await bench.advance(500);
      await kick(link, server, 2, 9999);
      assert.equal(bench.waitMs(link), 1000);
      await bench.advance(1000);
      for (const times of [3, 4]) {
        await kick(link, server, times, 5000);
        assert.equal(link.status.lastError, "another device with this identifier is connected to the hub");
        assert.equal(bench.waitMs(link), 45_000);
        await bench.advance(45_000);
      }
      await bench.connected(link, 5);
      assert.equal(link.statuses.at(-1)?.lastError, undefined);
      link.reconnect("the operator asked");
      await bench.disconnected(link, 5);
      assert.match(link.status.lastError ?? "", /the operator asked/, "this end was not because of the twin");
    });

    it("does not take an operator who asks to reconnect now and then for a twin", async () => {
      const server = await bench.serve();
      const link = bench.link(server.url, { heartbeatMs: HOUR_MS });
      link.start();
      for (let times = 1; times <= 6; times += 1) {
        await kick(link, server, times, times % 3 === 0 ? 10_000 : 0);
        assert.match(link.status.lastError ?? "", /\(1001\)/);
        await bench.advance(bench.waitMs(link));
      }
    });

    it("does not take a slow line for a twin, since it counts the seconds from the connection", async () => {
      let go = (): void => undefined;
      const server = await bench.serve();
      const link = bench.link(server.url, {
        request: async () => {
          await new Promise<void>((resolve) => (go = resolve));
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
      for (const times of [1, 2, 3]) {
        await bench.until(() => link.signed.length === times);
        await bench.advance(20_000); // as TLS on a Pi Zero takes
        go();
        await kick(link, server, times, 0);
        if (times < 3) await bench.advance(bench.waitMs(link));
      }
      assert.equal(link.status.lastError, "another device with this identifier is connected to the hub");
    });
  });
});
