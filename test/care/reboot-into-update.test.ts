/** When the board reboots into an installed update, and how far the application can put that off. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { RebootAnswer } from "../../src/update/application.ts";
import { RebootIntoUpdate } from "../../src/care/reboot-into-update.ts";
import type { Config } from "../../src/config/schema.ts";
import { silentLog } from "../../src/platform/log.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const FIRMWARE = { uuid: "u2", version: "2.0.0", product: "demo", platform: "rpi0", architecture: "arm" };
const HOUR = 3_600_000;
const CONFIG: Config["app"] = {
  update: "ask",
  reboot: "ask",
  askTimeoutMs: 30_000,
  maxDeferMs: 24 * HOUR,
  onTimeout: "reschedule",
  onNoController: "ignore",
};

describe("the reboot into an installed update", () => {
  let clock: FakeClock;
  let rebootIntoUpdate: RebootIntoUpdate;
  /** When the application was asked, in hours since the start. */
  let asked: number[];
  let rebooted: string[];
  let deferred: number[];
  let answer: RebootAnswer;
  beforeEach(() => {
    clock = new FakeClock();
    asked = [];
    rebooted = [];
    deferred = [];
    answer = { action: "defer", delayMs: 10 * HOUR, reason: "busy" };
  });
  afterEach(async () => {
    await rebootIntoUpdate.stop();
    assert.equal(clock.pending, 0);
  });
  const setUp = (reboot: "immediate" | "ask" | "never" = "ask"): void => {
    rebootIntoUpdate = new RebootIntoUpdate({
      config: { ...CONFIG, reboot },
      application: {
        mayReboot: async (firmware) => {
          assert.deepEqual(firmware, FIRMWARE);
          asked.push(clock.monotonic() / HOUR);
          return Promise.resolve(answer);
        },
      },
      clock,
      log: silentLog,
    });
    rebootIntoUpdate.on("due", (reason) => rebooted.push(reason));
    rebootIntoUpdate.on("deferred", (untilMs) => deferred.push(untilMs));
  };

  it("comes at once by default, without a question to the application", () => {
    setUp("immediate");
    rebootIntoUpdate.begin(FIRMWARE);
    assert.deepEqual(rebooted, ["the update is installed"]);
    assert.deepEqual(asked, []);
  });

  for (const reboot of ["immediate", "ask"] as const) {
    it(`waits after one that failed, with app.reboot = "${reboot}"`, async () => {
      setUp(reboot);
      answer = { action: "reboot" };
      rebootIntoUpdate.resume(FIRMWARE, clock.now(), HOUR);
      assert.deepEqual(rebootIntoUpdate.pending, { deferredUntilMs: clock.now() + HOUR });
      await clock.advance(HOUR - 1);
      assert.deepEqual([asked, rebooted], [[], []]);
      await clock.advance(1);
      assert.deepEqual(rebooted, ["the update is installed"]);
    });
  }

  it("comes when the application agrees", async () => {
    setUp();
    answer = { action: "reboot" };
    rebootIntoUpdate.begin(FIRMWARE);
    await clock.advance(0);
    assert.deepEqual(rebooted, ["the update is installed"]);
  });

  it("is put off for the time that the application gives, and then asked about again", async () => {
    setUp();
    rebootIntoUpdate.begin(FIRMWARE);
    await clock.advance(9 * HOUR);
    assert.deepEqual(deferred, [clock.now() + HOUR]);
    assert.deepEqual(rebootIntoUpdate.pending, { deferredUntilMs: clock.now() + HOUR });
    answer = { action: "reboot" };
    await clock.advance(HOUR);
    assert.deepEqual(asked, [0, 10]);
    assert.equal(rebooted.length, 1);
  });

  it("comes after max_defer_s, even if the application says no", async () => {
    setUp();
    rebootIntoUpdate.begin(FIRMWARE);
    await clock.advance(24 * HOUR - 1);
    assert.deepEqual(rebooted, []);
    await clock.advance(1);
    assert.deepEqual(asked, [0, 10, 20]);
    assert.deepEqual(rebooted, ["the update is installed, and its reboot was put off for 86400 s"]);
    assert.equal(deferred.at(-1), clock.now(), "the last deferral was cut");
  });

  it("comes after max_defer_s in all, also when the agent was restarted", async () => {
    setUp();
    rebootIntoUpdate.resume(FIRMWARE, clock.now() - 20 * HOUR, 0);
    assert.deepEqual(rebootIntoUpdate.pending, { deferredUntilMs: clock.now() + 30_000 });
    await clock.advance(29_999);
    assert.deepEqual(asked, [], "the application has time to come back");
    await clock.advance(1);
    assert.equal(asked.length, 1);
    await clock.advance(4 * HOUR - 30_000);
    assert.equal(rebooted.length, 1);
  });

  it("is not put off longer because the clock was set back", async () => {
    setUp();
    rebootIntoUpdate.resume(FIRMWARE, clock.now() + 1000 * HOUR, 0);
    await clock.advance(24 * HOUR + 30_000);
    assert.equal(rebooted.length, 1);
  });

  it("comes neither sooner nor later when the clock jumps", async () => {
    setUp();
    rebootIntoUpdate.begin(FIRMWARE);
    clock.jump(-1000 * HOUR);
    await clock.advance(15 * HOUR);
    clock.jump(2000 * HOUR);
    await clock.advance(9 * HOUR - 1);
    assert.deepEqual(rebooted, []);
    await clock.advance(1);
    assert.equal(rebooted.length, 1);
  });

  it("is left to the application and to people with app.reboot = never", async () => {
    setUp("never");
    rebootIntoUpdate.begin(FIRMWARE);
    assert.deepEqual(rebootIntoUpdate.pending, { deferredUntilMs: null });
    await clock.advance(1000 * HOUR);
    assert.deepEqual([asked, rebooted], [[], []]);
  });

  it("is not asked about any more when the agent stops", async () => {
    setUp();
    rebootIntoUpdate.begin(FIRMWARE);
    await clock.advance(HOUR);
    await rebootIntoUpdate.stop();
    assert.equal(clock.pending, 0);
    await clock.advance(100 * HOUR);
    assert.deepEqual([asked, rebooted], [[0], []]);
  });
});
