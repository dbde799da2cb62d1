/** The decision on an offered update, as a table: from the board's state and the offer to an action. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decide, type Situation } from "../../src/update/decide.ts";
import type { Offer } from "../../src/update/offers.ts";
import { Failure } from "../../src/platform/failure.ts";

const RUNNING = { version: "1.0.0" };

function situation(changes: Partial<Situation> = {}, firmware: object = {}): Situation {
  return {
    firmware: { running: RUNNING, problem: undefined, ...firmware } as Situation["firmware"],
    pendingValidation: false,
    rebooting: false,
    rebootPending: false,
    allowDowngrade: true,
    backOff: () => undefined,
    untilWindowMs: 0,
    ...changes,
  };
}

const backOff: Situation["backOff"] = (uuid) =>
  uuid === "uuid-2.0.0" ? { delayMs: 1, reason: "the board fell back from this firmware" } : undefined;

function offer(version: string, origin: Offer["origin"] = "hub"): Offer {
  return {
    origin,
    announced: { uuid: `uuid-${version}`, version },
    sizeBytes: null,
    deploymentId: null,
    open: () => {
      throw new Error("deciding opens nothing");
    },
  };
}

describe("an offer", () => {
  const table: [what: string, offer: Offer, situation: Situation, action: string, reason?: RegExp][] = [
    ["is applied", offer("2.0.0"), situation(), "apply"],
    ["waits for a reboot", offer("2.0.0"), situation({ rebooting: true }), "reschedule", /about to reboot/],
    [
      "waits for the reboot into another",
      offer("2.0.0"),
      situation({ rebootPending: true }),
      "reschedule",
      /an installed update waits for its reboot/,
    ],
    [
      "waits for the reboot into what somebody installed by hand",
      offer("2.0.0"),
      situation({}, { running: { ...RUNNING, rebootPending: true } }),
      "reschedule",
      /an installed update waits for its reboot/,
    ],
    [
      "of the firmware that runs is ignored",
      offer("2.0.0"),
      situation({}, { running: { ...RUNNING, uuid: "uuid-2.0.0" } }),
      "ignore",
      /^already running$/,
    ],
    [
      "of the firmware that runs is applied by hand",
      offer("2.0.0", "local"),
      situation({}, { running: { ...RUNNING, uuid: "uuid-2.0.0" } }),
      "apply",
    ],
    [
      "from the board waits for that reboot too",
      offer("2.0.0", "local"),
      situation({ rebootPending: true }),
      "reschedule",
    ],
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
      "that the board fell back from, or that failed, is put off",
      offer("2.0.0"),
      situation({ backOff }),
      "reschedule",
      /fell back/,
    ],
    [
      "that did not fail is applied, also after another one failed",
      offer("3.0.0"),
      situation({ backOff }),
      "apply",
    ],
    ["by hand is applied all the same", offer("2.0.0", "local"), situation({ backOff }), "apply"],
    ["of an older version is applied", offer("0.9.0"), situation(), "apply"],
    [
      "of an older version is ignored",
      offer("0.9.0"),
      situation({ allowDowngrade: false }),
      "ignore",
      /older/,
    ],
    [
      "waits for the window",
      offer("2.0.0"),
      situation({ untilWindowMs: 1000 }),
      "reschedule",
      /outside the board's update window/,
    ],
    ["by hand does not wait for it", offer("2.0.0", "local"), situation({ untilWindowMs: 1000 }), "apply"],
    [
      "of an older version is ignored at once, in the window or not",
      offer("0.9.0"),
      situation({ allowDowngrade: false, untilWindowMs: 1000 }),
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

  it("outside the window waits until the window opens", () => {
    const decision = decide(offer("2.0.0"), situation({ untilWindowMs: 12_345 }));
    assert.equal(decision.action === "reschedule" && decision.delayMs, 12_345);
  });

  it("is applied when neither its version nor the running one is known", () => {
    const unnamed = { ...offer("2.0.0"), announced: {} };
    assert.deepEqual(decide(unnamed, situation({ allowDowngrade: false }, { running: undefined })), {
      action: "apply",
    });
  });

  it("can't be installed when the slots are not known", () => {
    const problem = new Failure("io", "the environment is garbage");
    assert.throws(() => decide(offer("2.0.0"), situation({}, { problem })), problem);
  });
});
