/** What a restarted agent finds of the update that was under way. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { parseHubMessage, type Update } from "../../src/hub/device-messages.ts";
import { silentLog } from "../../src/platform/log.ts";
import { KeptOffer } from "../../src/update/kept-offer.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const HOUR_MS = 3_600_000;

function updateOf(uuid: string): Update {
  const message = parseHubMessage("update", {
    firmware_url: `https://files.example.com/${uuid}.fw?signature=SECRET`,
    firmware_meta: { uuid },
  });
  assert(message.type === "update");
  return message.update;
}

describe("the update that was under way", () => {
  let dir: string;
  let clock: FakeClock;
  let keys: string[];
  let resumed: string[];
  let kept: KeptOffer;
  /** An agent with the same state folder. */
  const start = async (ended: readonly string[] = []): Promise<KeptOffer> => {
    const next = new KeptOffer({ stateDir: dir, keys: { usable: () => keys }, clock, log: silentLog });
    next.on("resume", ({ firmware_meta: { uuid } }) => resumed.push(uuid));
    await next.open((uuid) => ended.includes(uuid));
    return next;
  };
  const restart = async (ended?: readonly string[]): Promise<void> => {
    await kept.stop();
    kept = await start(ended);
  };
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-offer-"));
    clock = new FakeClock();
    keys = ["key"];
    resumed = [];
    kept = await start();
  });
  afterEach(async () => {
    await kept.stop();
    assert.equal(clock.pending, 0, "no timer is left behind");
    await rm(dir, { recursive: true });
  });

  it("is taken up once, when the hub is joined, and counts as under way until then", async () => {
    kept.arrived(updateOf("uuid-2"));
    await restart();
    assert.equal(kept.left, "uuid-2");
    kept.ready();
    kept.ready();
    assert.equal(kept.left, undefined);
    assert.deepEqual(resumed, ["uuid-2"]);
  });

  it("is taken up again by the agent after that, until it has ended", async () => {
    kept.arrived(updateOf("uuid-2"));
    await restart();
    kept.ready();
    await restart();
    kept.ready();
    kept.ended("uuid-1"); // another one
    await restart();
    kept.ready();
    kept.ended("uuid-2");
    await restart();
    kept.ready();
    assert.deepEqual(resumed, ["uuid-2", "uuid-2", "uuid-2"]);
    assert.deepEqual(await readdir(dir), []);
  });

  it("waits for the hub's keys, which come after the join, but not for ever", async () => {
    keys = [];
    kept.arrived(updateOf("uuid-2"));
    await restart();
    kept.ready();
    assert.deepEqual(resumed, []);
    keys = ["key"];
    kept.ready();
    assert.deepEqual(resumed, ["uuid-2"]);
    keys = [];
    await restart();
    kept.ready();
    await clock.advance(10_000);
    assert.deepEqual(resumed, ["uuid-2", "uuid-2"]);
  });

  it("gives way to what the hub sends in the meantime", async () => {
    kept.arrived(updateOf("uuid-2"));
    await restart();
    kept.arrived(updateOf("uuid-3"));
    kept.ready();
    assert.deepEqual(resumed, []);
    await restart();
    assert.equal(kept.left, "uuid-3");
  });

  it("is forgotten when its firmware runs, waits for its reboot or was given up, or after a day", async () => {
    kept.arrived(updateOf("uuid-2"));
    await restart(["uuid-2"]);
    assert.equal(kept.left, undefined);
    kept.arrived(updateOf("uuid-3"));
    clock.jump(25 * HOUR_MS);
    await restart();
    assert.equal(kept.left, undefined);
    await kept.stop();
    assert.deepEqual(await readdir(dir), []);
  });

  it("is not forgotten because the clock was set since", async () => {
    await kept.stop();
    clock = new FakeClock(0); // the board was powered without a battery
    kept = await start();
    kept.arrived(updateOf("uuid-2"));
    await kept.stop();
    clock = new FakeClock();
    kept = await start();
    assert.equal(kept.left, "uuid-2");
  });

  it("is in a file that only its owner can read: the URL is signed", async () => {
    kept.arrived(updateOf("uuid-2"));
    await kept.stop();
    assert.equal((await stat(join(dir, "offer.json"))).mode & 0o777, 0o600);
  });

  it("is nothing when the file is damaged", async () => {
    await writeFile(join(dir, "offer.json"), '{"format":1,"atMs":0,"update":{"firmware_url":"file:///etc"}}');
    await restart();
    assert.equal(kept.left, undefined);
  });
});
