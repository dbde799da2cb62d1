/** Connections through an HTTP proxy (CONNECT). */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server } from "node:net";
import { afterEach, beforeEach, describe, it } from "node:test";
import { chooseProxy } from "../../src/platform/proxy.ts";
import { failedWith } from "../../src/platform/failure.ts";
import { openTunnel } from "../../src/platform/proxy-tunnel.ts";
import { eventually } from "../eventually.ts";
import { FakeClock } from "./fake-clock.ts";
import { startHttpProxy, type HttpProxy, type HttpProxyOptions } from "./http-proxy.ts";

describe("a tunnel through a proxy", () => {
  let clock: FakeClock;
  let target: Server;
  let proxy: HttpProxy;
  let abort: AbortController;
  beforeEach(async () => {
    clock = new FakeClock();
    abort = new AbortController();
    target = createServer((socket) => socket.end("hello")); // speaks first
    target.listen(0, "127.0.0.1");
    await once(target, "listening");
  });
  afterEach(async () => {
    await eventually(() => proxy.connections === 0, "no connection is left");
    await proxy.stop();
    target.close();
    assert.equal(clock.pending, 0);
  });
  const port = (): number => (target.address() as AddressInfo).port;
  const open = async (url: string): ReturnType<typeof openTunnel> => {
    const hub = new URL(`ws://hub.test:${port()}/socket`);
    const chosen = chooseProxy(url, {})(hub);
    assert.ok(chosen);
    return await openTunnel(chosen, hub, { clock, timeoutMs: 30_000, signal: abort.signal });
  };
  const withLogin = (login: string): string => proxy.url.replace("//", `//${login}@`);
  const fails = async (url: string, message: RegExp): Promise<void> => {
    await assert.rejects(open(url), (error: Error) => {
      assert.ok(failedWith(error, "proxy_failed"));
      assert.match(error.message, message);
      assert.match(error.message, new RegExp(`^the proxy 127.0.0.1:${proxy.port} `));
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  };
  const start = async (options: HttpProxyOptions): Promise<void> => {
    proxy = await startHttpProxy(options);
  };

  it("carries all bytes between the board and the host", async () => {
    await start({ credentials: Buffer.from("me:s@cret").toString("base64") });
    const socket = await open(withLogin("me:s%40cret"));
    assert.equal(Buffer.concat((await socket.toArray()) as Buffer[]).toString(), "hello");
    assert.deepEqual(proxy.asked, [`hub.test:${port()}`]);
    socket.destroy();
  });

  it("is refused with wrong credentials, and without any", async () => {
    await start({ credentials: "other" });
    await fails(withLogin("me:secret"), /wants another user or password \(407\); check hub\.proxy/);
    await fails(proxy.url, /wants a user and a password \(407\)/);
  });

  for (const [status, message] of [
    [403, /does not let this board connect to hub\.test:\d+ \(403\)$/],
    [502, /can't reach hub\.test:\d+ \(502\)$/],
    [418, /answers 418 when asked to connect to hub\.test:\d+$/],
  ] as const) {
    it(`is refused with ${status}`, async () => {
      await start({ status });
      await fails(withLogin("me:secret"), message);
    });
  }

  it("is given up when the proxy never answers, or when it is aborted", async () => {
    await start({ status: 0 });
    const failed = fails(withLogin("me:secret"), /does not answer within 30 s$/);
    await eventually(() => proxy.asked.length === 1, "it was asked");
    await clock.advance(30_000);
    await failed;
    const called = assert.rejects(open(proxy.url), /stop/);
    await eventually(() => proxy.asked.length === 2, "it was asked");
    abort.abort(new Error("stop"));
    await called;
  });

  it("fails when nothing listens at the proxy's address", async () => {
    await start({});
    await proxy.stop();
    await fails(withLogin("me:secret"), /can't be used: ECONNREFUSED; check hub\.proxy/);
    await start({});
  });
});
