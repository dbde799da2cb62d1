/** The agent after all methods to reboot have failed. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Rebooter } from "../../src/care/rebooter.ts";
import { Failure } from "../../src/platform/failure.ts";
import { silentLog } from "../../src/platform/log.ts";
import { eventually } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";

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
    rebooter = new Rebooter({
      config: { methods: ["gpio-watchdog"], command: "", graceMs: 5000, escalateMs: 30_000 },
      boot: { note: async (_reason, method) => Promise.resolve(void tried.push(method ?? "noted")) },
      firmware: { noteReboot: async () => Promise.resolve() },
      hub: { send: () => true, flush: async () => Promise.resolve() },
      watchdogs: {
        armed: watchdogArmed,
        resetByGpio: async () => Promise.reject(new Failure("unavailable", "there is no GPIO watchdog")),
      },
      world: testWorld({ clock, root: "/nonexistent" }),
      log: silentLog,
    });
    rebooter.once("stranded", () => (stranded = true));
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

  it("gives a watchdog five minutes, counted from the last try", async () => {
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
