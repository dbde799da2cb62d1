import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decide, type DecideOptions } from "../../src/agent/decide.ts";
import type { BoardFirmware } from "../../src/firmware/board-firmware.ts";
import type { Offer } from "../../src/firmware/update.ts";
import { Failure } from "../../src/platform/failure.ts";

const RUNNING = { version: "1.0.0" };

function situation(changes: Partial<DecideOptions> = {}, firmware: object = {}): DecideOptions {
  return {
    firmware: { running: RUNNING, problem: undefined, fellBackFrom: undefined, ...firmware } as BoardFirmware,
    pendingValidation: false,
    rebooting: false,
    allowDowngrade: true,
    ...changes,
  };
}

function offer(version: string, origin: Offer["origin"] = "hub"): Offer {
  return {
    origin,
    announced: { uuid: `uuid-${version}`, version },
    sizeBytes: null,
    open: () => {
      throw new Error("deciding opens nothing");
    },
  };
}

describe("an offer", () => {
  const table: [what: string, offer: Offer, situation: DecideOptions, action: string, reason?: RegExp][] = [
    ["is applied", offer("2.0.0"), situation(), "apply"],
    ["waits for a reboot", offer("2.0.0"), situation({ rebooting: true }), "reschedule", /about to reboot/],
    [
      "waits for validation",
      offer("2.0.0"),
      situation({ pendingValidation: true }),
      "reschedule",
      /not validated/,
    ],
    [
      "from the board waits too",
      offer("2.0.0", "local"),
      situation({ pendingValidation: true }),
      "reschedule",
    ],
    [
      "that the board fell back from is put off",
      offer("2.0.0"),
      situation({}, { fellBackFrom: "uuid-2.0.0" }),
      "reschedule",
      /fell back/,
    ],
    ["other than that is applied", offer("3.0.0"), situation({}, { fellBackFrom: "uuid-2.0.0" }), "apply"],
    [
      "by hand is applied all the same",
      offer("2.0.0", "local"),
      situation({}, { fellBackFrom: "uuid-2.0.0" }),
      "apply",
    ],
    ["of an older version is applied", offer("0.9.0"), situation(), "apply"],
    [
      "of an older version is ignored",
      offer("0.9.0"),
      situation({ allowDowngrade: false }),
      "ignore",
      /older/,
    ],
    [
      "of an older version by hand is applied",
      offer("0.9.0", "local"),
      situation({ allowDowngrade: false }),
      "apply",
    ],
  ];
  for (const [what, given, where, action, reason] of table) {
    it(`${what}: ${action}`, () => {
      const decision = decide(given, where);
      assert.equal(decision.action, action);
      if (reason !== undefined) assert.match("reason" in decision ? decision.reason : "", reason);
    });
  }

  it("can't be installed where the slots are not known", () => {
    const problem = new Failure("io", "the environment is garbage");
    assert.throws(() => decide(offer("2.0.0"), situation({}, { problem })), problem);
  });
});
