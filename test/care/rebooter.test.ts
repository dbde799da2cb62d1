import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { createRebooter, type Rebooter } from "../../src/care/rebooter.ts";
import { Failure } from "../../src/platform/failure.ts";
import { silentLog } from "../../src/platform/log.ts";
import { eventually } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";

describe("a reboot that has failed in every way", () => {
  let clock: FakeClock;
  let rebooter: Rebooter;
  let stranded: boolean;
  let tried: string[];
  beforeEach(() => {
    clock = new FakeClock();
    stranded = false;
    tried = [];
  });
  afterEach(async () => {
    await rebooter.stop();
    assert.equal(clock.pending, 0);
  });
  /** On a board without a GPIO watchdog and without sysrq, so that both ways fail at once. */
  const fail = async (watchdogArmed: boolean): Promise<void> => {
    rebooter = createRebooter({
      config: { methods: ["gpio-watchdog"], command: "", graceMs: 5000, escalateMs: 30_000 },
      beforehand: async () => Promise.resolve(),
      tellHub: async () => Promise.resolve(),
      endChildren: async () => Promise.resolve(),
      note: async (_reason, method) => Promise.resolve(void tried.push(method ?? "noted")),
      resetByGpio: async () => Promise.reject(new Failure("unavailable", "there is no GPIO watchdog")),
      watchdogArmed: () => watchdogArmed,
      root: "/nonexistent",
      clock,
      log: silentLog,
    });
    void rebooter.stranded.then(() => (stranded = true));
    await again();
  };
  const again = async (): Promise<void> => {
    rebooter.reboot("for the test");
    await eventually(() => !rebooter.rebooting, "all ways are tried; sync(1) runs for real");
    assert.ok(rebooter.failed);
  };

  it("leaves the agent stranded at once where no watchdog can help", async () => {
    await fail(false);
    await clock.advance(0);
    assert.ok(stranded);
    assert.deepEqual(tried, ["noted", "gpio-watchdog", "sysrq"]);
  });

  it("leaves it to a watchdog for five minutes, counted from the last try", async () => {
    await fail(true);
    await clock.advance(200_000);
    await again();
    await clock.advance(299_999);
    assert.equal(stranded, false);
    await clock.advance(1);
    assert.ok(stranded);
  });

  it("is forgotten when the agent stops", async () => {
    await fail(true);
    await rebooter.stop();
    await clock.advance(1_000_000);
    assert.equal(stranded, false);
  });
});
