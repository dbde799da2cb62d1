/** A board without a clock, with a wrong one or with a wrong hub: it comes back to its hub in any case. */
import assert from "node:assert/strict";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, before, describe, it } from "node:test";
import { setUpBoard, type TestBoard } from "../agent/board.ts";
import { type Authority, createAuthority } from "../hub/certificates.ts";
import { type Hub, startHub } from "../hub/server.ts";
import { MovedClock } from "../platform/moved-clock.ts";
import { hasCompiler } from "../torture/world.ts";
import { end, hublink, type Program, startDaemon } from "./program.ts";

const DAY_MS = 86_400_000;
const NOW_MS = Math.floor(Date.now() / 1000) * 1000;
const BUILT_MS = NOW_MS - 60 * DAY_MS;
/** Of a hub that renews it every few weeks. */
const RENEWED = { notBefore: new Date(NOW_MS - 20 * DAY_MS), notAfter: new Date(NOW_MS + 20 * DAY_MS) };
/** Ten years ahead: a wrong time of the hub, which an agent kept. */
const POISONED_MS = NOW_MS + 3650 * DAY_MS;

describe("a board that starts in 1970", { skip: hasCompiler() ? false : "needs cc on Linux" }, () => {
  let authority: Authority;
  let board: TestBoard;
  let clock: MovedClock;
  let hub: Hub | undefined;
  let daemon: Program | undefined;
  let config = "";
  before(async () => {
    process.env["SOURCE_DATE_EPOCH"] = String(BUILT_MS / 1000); // for the bundle
    authority = await createAuthority("hub CA");
  });
  afterEach(async () => {
    await end(daemon);
    await hub?.stop();
    await board.remove();
  });

  /** @param by who signs the hub's certificate */
  const setUp = async (
    kept: number | undefined,
    { by = authority, skewMs = 0, startsAtMs = 0 } = {},
  ): Promise<Program> => {
    board = await setUpBoard();
    clock = new MovedClock(board.dir, join(board.dir, "bin"));
    clock.ms = startsAtMs;
    hub = await startHub({
      tls: {
        ...(await by.server(["localhost"], RENEWED)),
        ca: await readFile(board.certificates.caFile, "utf8"),
        clientCertificates: "required",
      },
      clockSkewMs: skewMs,
    });
    const caFile = join(board.dir, "hub-ca.pem");
    await writeFile(caFile, authority.cert);
    await mkdir(join(board.dir, "state"), { recursive: true });
    if (kept !== undefined) await writeFile(keptFile(), new Date(kept).toISOString());
    config = await board.writeConfig({ hub: { url: hub.url, ca_file: caFile } });
    daemon = await startDaemon(config, { env: clock.env });
    return daemon;
  };
  const keptFile = (): string => join(board.dir, "state/last-known-time");
  const keptMs = async (): Promise<number> => Date.parse((await readFile(keptFile(), "utf8")).trim());
  const isNow = (ms: number): boolean => Math.abs(ms - Date.now()) < 10 * 60_000;
  const stopped = async ({ child, ended }: Program): Promise<void> => {
    child.kill("SIGTERM");
    await ended;
  };

  it("and kept a wrong time of the hub comes back, and the kept time is mended", async () => {
    const running = await setUp(POISONED_MS);
    await running.logged(/joined the hub/);
    assert.deepEqual(clock.sets.slice(0, 2), [POISONED_MS, RENEWED.notBefore.getTime()]);
    await stopped(running);
    assert.ok(isNow(await keptMs()));
    assert.ok(isNow(clock.ms));
  });

  it("and was off while the hub renewed its certificate comes back", async () => {
    const running = await setUp(NOW_MS - 40 * DAY_MS);
    await running.logged(/joined the hub/);
    assert.deepEqual(clock.sets.slice(0, 2), [NOW_MS - 40 * DAY_MS, RENEWED.notBefore.getTime()]);
    await stopped(running);
    assert.ok(isNow(await keptMs()));
    assert.ok(isNow(clock.ms));
  });

  it("and kept a time that no agent can see ignores it", async () => {
    const running = await setUp(Date.UTC(9998, 11, 31));
    await running.logged(/the last known time can't be right, and is ignored/);
    await running.logged(/joined the hub/);
    assert.equal(clock.sets[0], BUILT_MS);
    await stopped(running);
    assert.ok(isNow(await keptMs()));
  });

  it("keeps no time of a hub that is later than the end of its certificate", async () => {
    const running = await setUp(NOW_MS, { skewMs: POISONED_MS - NOW_MS });
    await running.logged(/the hub's time is ignored: .* is after the end of its certificate/);
    await running.logged(/joined the hub/);
    await stopped(running);
    assert.ok(isNow(await keptMs()));
    assert.ok(isNow(clock.ms));
  });

  it("or 30 years ahead comes back, and hublink check says that its clock is wrong", async () => {
    const startsAtMs = NOW_MS + 30 * 365 * DAY_MS;
    const running = await setUp(undefined, { startsAtMs });
    await running.logged(/joined the hub/);
    assert.equal(clock.sets[0], BUILT_MS);
    await stopped(running);
    assert.ok(isNow(clock.ms));
    clock.ms = startsAtMs;
    const { stdout } = await hublink(["check", "--config", config], { env: clock.env });
    assert.match(stdout, /clock +\S+ can't be right: it is more than 20 years after hublink was built/);
  });

  it("is not moved by the certificate of a stranger in the network", async () => {
    const running = await setUp(POISONED_MS, { by: await createAuthority("stranger") });
    await running.logged(/no hub: .*CERT_HAS_EXPIRED/);
    assert.deepEqual(clock.sets, [POISONED_MS]);
  });
});
