import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { RebootAnswer } from "../../src/update/application.ts";
import { createRebootRequest, type RebootRequest } from "../../src/care/reboot-into-update.ts";
import { silentLog } from "../../src/platform/log.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const FIRMWARE = { uuid: "u2", version: "2.0.0", product: "demo", platform: "rpi0", architecture: "arm" };
const HOUR = 3_600_000;

describe("the reboot into an installed update", () => {
  let clock: FakeClock;
  let request: RebootRequest;
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
    await request.stop();
    assert.equal(clock.pending, 0);
  });
  const setUp = (reboot: "immediate" | "ask" | "never" = "ask"): void => {
    request = createRebootRequest({
      config: { reboot, maxDeferMs: 86_400_000, askTimeoutMs: 30_000 },
      application: {
        mayReboot: async (firmware) => {
          assert.deepEqual(firmware, FIRMWARE);
          asked.push(clock.monotonic() / HOUR);
          return Promise.resolve(answer);
        },
      },
      reboot: (reason) => rebooted.push(reason),
      onDeferred: (untilMs) => deferred.push(untilMs),
      clock,
      log: silentLog,
    });
  };

  it("comes at once by default, and nobody is asked", () => {
    setUp("immediate");
    request.slotReady(FIRMWARE);
    assert.deepEqual(rebooted, ["the update is installed"]);
    assert.deepEqual(asked, []);
  });

  for (const reboot of ["immediate", "ask"] as const) {
    it(`is held back after one that failed, where it is "${reboot}"`, async () => {
      setUp(reboot);
      answer = { action: "reboot" };
      request.resume(FIRMWARE, clock.now(), HOUR);
      assert.deepEqual(request.pending, { deferredUntilMs: clock.now() + HOUR });
      await clock.advance(HOUR - 1);
      assert.deepEqual([asked, rebooted], [[], []]);
      await clock.advance(1);
      assert.deepEqual(rebooted, ["the update is installed"]);
    });
  }

  it("comes when the application agrees", async () => {
    setUp();
    answer = { action: "reboot" };
    request.slotReady(FIRMWARE);
    await clock.advance(0);
    assert.deepEqual(rebooted, ["the update is installed"]);
  });

  it("is put off as long as the application says, and then asked about again", async () => {
    setUp();
    request.slotReady(FIRMWARE);
    await clock.advance(9 * HOUR);
    assert.deepEqual(deferred, [clock.now() + HOUR]);
    assert.deepEqual(request.pending, { deferredUntilMs: clock.now() + HOUR });
    answer = { action: "reboot" };
    await clock.advance(HOUR);
    assert.deepEqual(asked, [0, 10]);
    assert.equal(rebooted.length, 1);
  });

  it("comes after max_defer_s, whatever the application says", async () => {
    setUp();
    request.slotReady(FIRMWARE);
    await clock.advance(24 * HOUR - 1);
    assert.deepEqual(rebooted, []);
    await clock.advance(1);
    assert.deepEqual(asked, [0, 10, 20]);
    assert.deepEqual(rebooted, ["the update is installed, and its reboot was put off for 86400 s"]);
    assert.equal(deferred.at(-1), clock.now(), "the last deferral was cut");
  });

  it("comes after max_defer_s in all, also when the agent is started again in between", async () => {
    setUp();
    request.resume(FIRMWARE, clock.now() - 20 * HOUR, 0);
    assert.deepEqual(request.pending, { deferredUntilMs: clock.now() + 30_000 });
    await clock.advance(29_999);
    assert.deepEqual(asked, [], "the application has time to come back");
    await clock.advance(1);
    assert.equal(asked.length, 1);
    await clock.advance(4 * HOUR - 30_000);
    assert.equal(rebooted.length, 1);
  });

  it("is put off no longer because the clock was set back meanwhile", async () => {
    setUp();
    request.resume(FIRMWARE, clock.now() + 1000 * HOUR, 0);
    await clock.advance(24 * HOUR + 30_000);
    assert.equal(rebooted.length, 1);
  });

  it("is not hurried or held up by jumps of the clock", async () => {
    setUp();
    request.slotReady(FIRMWARE);
    clock.jump(-1000 * HOUR);
    await clock.advance(15 * HOUR);
    clock.jump(2000 * HOUR);
    await clock.advance(9 * HOUR - 1);
    assert.deepEqual(rebooted, []);
    await clock.advance(1);
    assert.equal(rebooted.length, 1);
  });

  it("is left to the application and to people when the configuration says never", async () => {
    setUp("never");
    request.slotReady(FIRMWARE);
    assert.deepEqual(request.pending, { deferredUntilMs: null });
    await clock.advance(1000 * HOUR);
    assert.deepEqual([asked, rebooted], [[], []]);
  });

  it("is asked about no more when the agent stops", async () => {
    setUp();
    request.slotReady(FIRMWARE);
    await clock.advance(HOUR);
    await request.stop();
    assert.equal(clock.pending, 0);
    await clock.advance(100 * HOUR);
    assert.deepEqual([asked, rebooted], [[0], []]);
  });
});
