/** What the board remembers of failed updates, so that it does not try the same one in a fast loop. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { type Journal, openJournal } from "../../src/firmware/journal.ts";
import { UpdateHistory } from "../../src/update/history.ts";
import { silentLog } from "../../src/platform/log.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

describe("firmware that failed", () => {
  let dir: string;
  let clock: FakeClock;
  let journal: Journal;
  let history: UpdateHistory;

  /** Starts the agent; with `rebooted`, the clock of the new boot, the board has rebooted too. */
  const start = async (rebooted?: FakeClock): Promise<void> => {
    clock = rebooted ?? clock;
    journal = await openJournal(dir, silentLog);
    history = new UpdateHistory(journal, clock);
  };
  const fail = async (reason = "fwup error: bad signature"): Promise<void> => {
    await history.started("u2");
    await history.failed("u2", reason, "firmware");
  };
  const hours = (): number => (history.backOff("u2")?.delayMs ?? 0) / HOUR;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-history-"));
    clock = new FakeClock();
    await start();
  });
  afterEach(async () => {
    await journal.settled();
    await rm(dir, { recursive: true });
  });

  it("asks 20: is not tried for an hour, then twice as long each time up to a day, with the reason", async () => {
    for (const expected of [1, 2, 4, 8, 16, 24, 24]) {
      await fail();
      assert.equal(hours(), expected);
      assert.match(history.backOff("u2")?.reason ?? "", /the last try failed: fwup error: bad signature/);
      await clock.advance(expected * HOUR - 1);
      assert.ok(hours() > 0);
      await clock.advance(1);
      assert.equal(history.backOff("u2"), undefined);
    }
  });

  it("does not hold up other firmware", async () => {
    await fail();
    assert.equal(history.backOff("u3"), undefined);
  });

  it("asks 38: counts once for each installation that the board fell back from", async () => {
    await history.fellBack("u2", 7);
    await start();
    await history.fellBack("u2", 7); // reported at each start of the agent
    assert.equal(hours(), 1);
    assert.match(history.backOff("u2")?.reason ?? "", /fell back from this firmware/);
    await history.fellBack("u2", 8);
    assert.equal(hours(), 2);
    await history.fellBack("u2", null);
    assert.equal(hours(), 2);
  });

  it("is remembered over a restart and over a reboot", async () => {
    await fail();
    await clock.advance(20 * MINUTE);
    await start();
    assert.equal(hours(), 40 / 60);
    await start(new FakeClock(clock.now() + 10 * MINUTE));
    assert.equal(hours(), 30 / 60);
  });

  it("is not tried early because the clock starts in 1970 and jumps once it is set", async () => {
    await start(new FakeClock(0));
    await fail();
    clock.jump(Date.UTC(2026, 5));
    assert.equal(hours(), 1);
    await start(new FakeClock(0)); // a restarted agent can't know how long ago it was
    assert.equal(hours(), 1);
    clock.jump(Date.UTC(2026, 5));
    await clock.advance(30 * MINUTE);
    assert.equal(hours(), 0.5);
  });

  it("is not delayed longer because the clock was far ahead", async () => {
    clock.jump(10 * 365 * 24 * HOUR);
    await fail();
    await start(new FakeClock());
    assert.equal(hours(), 1);
    await clock.advance(HOUR);
    assert.equal(hours(), 0);
  });

  it("because of the network is tried again at once, and then every five minutes", async () => {
    await history.failed("u2", "no line", "circumstances");
    assert.equal(history.backOff("u2"), undefined);
    for (let times = 0; times < 5; times += 1) {
      await history.failed("u2", "no line", "circumstances");
      assert.equal(history.backOff("u2")?.delayMs, 5 * MINUTE);
    }
  });

  it("and then works is not delayed any more", async () => {
    await fail();
    await history.installed("u2");
    assert.equal(history.backOff("u2"), undefined);
  });

  it("counts as interrupted when its end was not noted", async () => {
    await history.started("u2");
    await start();
    assert.equal(history.interrupted, "u2");
    await fail();
    await start();
    assert.equal(history.interrupted, undefined);
  });

  it("because the board went down while it was written waits longer each time, up to an hour", async () => {
    const goesDown = async (): Promise<void> => {
      await history.started("u2");
      await history.writing("u2");
      await start();
    };
    for (const expected of [0, 0, 5, 10, 20, 40, 60, 60]) {
      await goesDown();
      assert.equal((history.backOff("u2")?.delayMs ?? 0) / MINUTE, expected);
      await clock.advance(expected * MINUTE);
      assert.equal(history.backOff("u2"), undefined);
    }
    assert.equal(history.backOff("u3"), undefined);
    await history.failed("u2", "no line", "circumstances");
    await goesDown();
    assert.equal(history.backOff("u2"), undefined, "it had ended, so the count began again");
  });

  it("is not blamed when the power fails while it is fetched", async () => {
    for (let count = 0; count < 9; count += 1) {
      await history.started("u2");
      await start();
      assert.equal(history.backOff("u2"), undefined);
    }
  });

  for (const [what, breaks] of [
    ["it failed", false],
    ["it brought the board down", true],
  ] as const) {
    it(`waits no longer on a board that is never on for long when ${what} while the clock was far ahead`, async () => {
      const rightMs = clock.now();
      clock.jump(10 * 365 * 24 * HOUR);
      await history.started("u2");
      for (let times = 0; breaks && times < 5; times += 1) await history.writing("u2");
      if (!breaks) await history.failed("u2", "fwup error: bad signature", "firmware");
      await start(new FakeClock(rightMs));
      assert.ok(hours() > 0);
      await history.started("u3"); // the journal writes one after the other
      await start(new FakeClock(rightMs + 2 * HOUR));
      assert.equal(history.backOff("u2"), undefined);
    });
  }

  it("waits by the wall clock too, for a board that is never on for long", async () => {
    for (let count = 0; count < 3; count += 1) {
      await history.started("u2");
      await history.writing("u2");
      await start();
    }
    await start(new FakeClock(clock.now() + 5 * MINUTE));
    assert.equal(history.backOff("u2"), undefined);
  });

  it("is remembered only for the last few updates, and an older journal can be read", async () => {
    await writeFile(join(dir, "journal.json"), '{"format":1,"installed":null}');
    await start();
    for (let count = 0; count < 20; count += 1)
      await history.failed(`u${count}`, "x".repeat(9999), "firmware");
    const { attempts } = await openJournal(dir, silentLog);
    assert.deepEqual(
      attempts.map(({ uuid }) => uuid),
      [12, 13, 14, 15, 16, 17, 18, 19].map((count) => `u${count}`),
    );
    assert.ok(JSON.stringify(attempts).length < 8000);
  });
});
