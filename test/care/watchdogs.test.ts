/** When the agent feeds the watchdogs. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { reasonToStarve, type AgentHealth } from "../../src/care/watchdogs.ts";

const HEALTHY: AgentHealth = {
  updateStillForMs: undefined,
  updateStallMs: 940_000,
  trialExpiredForMs: undefined,
  checkFailures: 0,
  rebootFailed: false,
};

function starve({ laggingForMs = 0, ...changes }: Partial<AgentHealth> & { readonly laggingForMs?: number }) {
  return reasonToStarve({ ...HEALTHY, ...changes }, laggingForMs);
}

describe("the watchdogs", () => {
  for (const [what, health] of [
    ["all is well", {}],
    ["the event loop is late for a while, as on a busy Pi Zero", { laggingForMs: 59_999 }],
    ["an update goes on", { updateStillForMs: 0 }],
    ["an update stands still, within its limit", { updateStillForMs: 999_999 }],
    ["the application's check fails for the first and the second time", { checkFailures: 2 }],
    ["the trial is over and the reboot is under way", { trialExpiredForMs: 299_999 }],
  ] as const) {
    it(`are fed while ${what}`, () => assert.equal(starve(health), undefined));
  }

  for (const [what, health, reason] of [
    ["the event loop has not been in time for a minute", { laggingForMs: 60_000 }, /too slow for a minute/],
    ["an update neither goes on nor ends", { updateStillForMs: 1_000_000 }, /neither goes on nor ends/],
    ["the reboot out of failed firmware does not come", { trialExpiredForMs: 300_000 }, /did not prove good/],
    ["the application's check has failed three times", { checkFailures: 3 }, /watchdog\.command has failed/],
    [
      "every method to reboot has failed: this is the last one",
      { rebootFailed: true },
      /still up after every way/,
    ],
  ] as const) {
    it(`are not fed when ${what}`, () => assert.match(starve(health) ?? "", reason));
  }
});
