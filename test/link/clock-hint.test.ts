/**
 * Shared-secret signatures when the board's clock is wrong: the refusal carries the hub's time (its Date
 * header), and the link signs again with it.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { hubRequests } from "../../src/hub/connect-request.ts";
import type { Identity } from "../../src/identity/identity.ts";
import { sharedSecretIdentity } from "../../src/identity/shared-secret.ts";
import { silentLog } from "../../src/platform/log.ts";
import { startHub, type Hub } from "../hub/server.ts";
import { testWorld } from "../platform/world.ts";
import { createBench, refuse, type Bench, type TestLink } from "./bench.ts";

const KEY = "nhp_product";
const SECRET = "a product's secret";
const YEAR_MS = 365 * 86_400_000;

describe("a board whose clock differs from the hub's", () => {
  let dir: string;
  let bench: Bench;
  let hub: Hub | undefined;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-clock-"));
    await writeFile(join(dir, "secret"), SECRET, { mode: 0o600 });
  });
  after(async () => rm(dir, { recursive: true }));
  beforeEach(() => {
    bench = createBench();
  });
  afterEach(async () => {
    await bench.end();
    await hub?.stop();
  });

  const setUp = async (clockSkewMs: number): Promise<TestLink> => {
    hub = await startHub({ clock: bench.clock, clockSkewMs, secrets: { [KEY]: { secret: SECRET } } });
    return connecting(hub.url);
  };
  const connecting = async (url: string): Promise<TestLink> => {
    const identity: Identity = await sharedSecretIdentity(
      "board-1",
      { key: KEY, secretFile: join(dir, "secret") },
      {
        world: testWorld({ clock: bench.clock, root: dir }),
        log: silentLog,
        takeVariable: () => undefined,
        ubootVariables: async () => Promise.resolve(new Map()),
      },
    );
    const request = hubRequests({ url, compress: false, serverName: "", proxy: "" }, identity, []);
    return bench.link(url, { request, heartbeatMs: YEAR_MS });
  };

  for (const [what, skewMs] of [
    ["behind by 50 years, as one that starts in 1970", 50 * YEAR_MS],
    ["behind by 90 s", 90_000],
    ["ahead by 1 s", -1000],
    ["ahead by a year", -YEAR_MS],
  ] as const) {
    it(`that is ${what} is let in at the second try, at once`, async () => {
      const link = await setUp(skewMs);
      link.start();
      await bench.connected(link);
      assert.equal(bench.clock.monotonic(), 0);
      assert.equal(link.signed.length, 2);
      assert(!link.statuses.some(({ connection }) => connection === "disconnected"));
      const line = bench.lines.find((each) => each.includes("the hub's clock differs"));
      assert.match(line ?? "", /status=401 signed_at=20\d\d-\S+Z hub_time=(19|20)\d\d-\S+Z$/);
    });
  }

  it("is let in at the first try while the difference is within the hub's limit", async () => {
    const link = await setUp(80_000);
    link.start();
    await bench.connected(link);
    assert.equal(link.signed.length, 1);
  });

  it("keeps signing with the hub's time when the board's clock jumps", async () => {
    const link = await setUp(YEAR_MS);
    link.start();
    await bench.connected(link);
    for (const jumpMs of [10 * YEAR_MS, -30 * YEAR_MS]) {
      const tries = link.signed.length;
      const signedMs = link.signed.at(-1) ?? NaN;
      await bench.advance(3_600_000);
      const before = bench.clock.now();
      bench.clock.jump(jumpMs);
      // The hub's clock is the same fake one; it does not jump with the board's.
      const connections = link.statuses.filter(({ connection }) => connection === "connected").length;
      link.reconnect("test");
      await bench.until(() => link.signed.length > tries);
      assert.equal(link.signed[tries], signedMs + 3_600_000 - (signedMs % 1000));
      bench.clock.jump(before - bench.clock.now());
      await bench.connected(link, connections + 1);
      assert.equal(link.signed.length, tries + 1, "at the first try");
    }
  });

  it("tries only once more with the hub's time, since a wrong secret stays wrong", async () => {
    await writeFile(join(dir, "secret"), "another secret", { mode: 0o600 });
    const link = await setUp(YEAR_MS);
    link.start();
    await bench.disconnected(link);
    assert.equal(link.signed.length, 2);
    await bench.advance(1000);
    await bench.disconnected(link, 2);
    assert.equal(link.signed.length, 3, "with the hub's time at once");
    await writeFile(join(dir, "secret"), SECRET, { mode: 0o600 });
  });

  it("does not try again when the clocks agree", async () => {
    const server = await bench.serve({
      onUpgrade: (_request, socket) =>
        refuse(socket, 401, { date: new Date(bench.clock.now()).toUTCString() }),
    });
    const link = bench.link(server.url);
    link.start();
    await bench.disconnected(link);
    assert.equal(server.requests.length, 1);
  });

  it("does not try again at once after a refusal that has another reason", async () => {
    const server = await bench.serve({
      onUpgrade: (_request, socket) => refuse(socket, 503, { date: new Date(0).toUTCString() }),
    });
    const link = bench.link(server.url);
    link.start();
    await bench.disconnected(link);
    assert.equal(server.requests.length, 1);
  });

  for (const date of ["Mon, 01 Jan 2040 00:00:00 GMT", "Fri, 01 Jan 270000 00:00:00 GMT", "yesterday"]) {
    it(`does not keep the time of another server (${date}) when the hub sends none`, async () => {
      let portal = true;
      const ownMs = bench.clock.now();
      const server = await bench.serve({
        onUpgrade: (request, socket) => {
          if (portal) return refuse(socket, 302, { location: "http://", date });
          const signedMs = Number(request.headers["x-nh-time"]) * 1000;
          return Math.abs(signedMs - bench.clock.now()) > 90_000 && refuse(socket, 401);
        },
      });
      const link = await connecting(server.url);
      link.start();
      await bench.disconnected(link);
      portal = false;
      for (let times = 2; link.status.connection !== "connected"; times += 1) {
        assert(times < 4, "it is locked out");
        await bench.advance(bench.waitMs(link));
        await bench.until(() => server.requests.length === times && link.status.connection !== "connecting");
      }
      assert((link.signed.at(-1) ?? 0) - ownMs < 90_000);
    });
  }
});
