/** The alarms of the health report: which there are, and in which words. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { alarmsOf, type HealthFacts } from "../../src/extensions/health.ts";

const NOW = Date.UTC(2026, 5, 1);
const DAY_MS = 86_400_000;
const WELL: HealthFacts = {
  metadata: {},
  connectionsLost: 0,
  lastLoss: undefined,
  update: undefined,
  pendingValidation: false,
  reverted: false,
  firmwareProblem: undefined,
  certificateEndsMs: NOW + 31 * DAY_MS,
};

describe("alarms", () => {
  it("are empty when all is well", () => {
    assert.deepEqual(
      alarmsOf(WELL, undefined, { disk_used_percentage: 89.9, mem_used_percent: 50 }, NOW),
      {},
    );
  });

  const cases: readonly (readonly [
    facts: Partial<HealthFacts>,
    metrics: Record<string, number>,
    name: string,
    text: string,
  ])[] = [
    [{ connectionsLost: 1 }, {}, "disconnected", "the hub was lost once since the last report"],
    [
      { connectionsLost: 3, lastLoss: "the hub was silent for 60 s" },
      {},
      "disconnected",
      "the hub was lost 3 times since the last report; the last time: the hub was silent for 60 s",
    ],
    [{ update: { stage: "updating", percent: 40 } }, {}, "update_in_progress", "updating, 40 %"],
    [{ reverted: true }, {}, "reverted", "the board fell back from the firmware that was installed last"],
    [{ pendingValidation: true }, {}, "not_validated", "the running firmware is not marked good yet"],
    [{ firmwareProblem: "no fwup" }, {}, "no_updates", "no fwup"],
    [
      { certificateEndsMs: NOW + 29 * DAY_MS },
      {},
      "certificate_expiring",
      "the device's certificate expires on 2026-06-30",
    ],
    [
      { certificateEndsMs: NOW - DAY_MS },
      {},
      "certificate_expiring",
      "the device's certificate expired on 2026-05-31",
    ],
    [{}, { disk_used_percentage: 90 }, "disk_low", "90 % of the disk is used"],
    [{}, { mem_used_percent: 95.5 }, "memory_low", "96 % of the memory is used"],
  ];
  for (const [facts, metrics, name, text] of cases) {
    it(`${name}: ${text}`, () => {
      assert.deepEqual(alarmsOf({ ...WELL, ...facts }, undefined, metrics, NOW), { [name]: text });
    });
  }

  it("report a lost connection once", () => {
    const facts = { ...WELL, connectionsLost: 2 };
    assert.deepEqual(alarmsOf(facts, facts, {}, NOW), {});
  });
});
