/** The agent's own alarms: which there are, in which words, and when they are raised and cleared. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ConnectionLosses } from "../../src/agent/extensions.ts";
import { AlarmList } from "../../src/extensions/alarm-list.ts";
import type { Metrics } from "../../src/extensions/health-metrics.ts";
import type { HealthFacts } from "../../src/extensions/health.ts";
import { alarmsOf, OWN_ALARMS, OwnAlarms } from "../../src/extensions/own-alarms.ts";
import type { LinkStatus } from "../../src/hub/link.ts";
import { silentLog } from "../../src/platform/log.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const NOW = Date.UTC(2026, 5, 1);
const DAY_MS = 86_400_000;
const WELL: HealthFacts = {
  metadata: {},
  lossesLately: 0,
  lastLoss: undefined,
  update: undefined,
  pendingValidation: false,
  reverted: false,
  firmwareProblem: undefined,
  certificateEndsMs: NOW + 31 * DAY_MS,
};

describe("alarms", () => {
  it("are empty when all is well", () => {
    const metrics = { disk_used_percentage: 89.9, mem_used_percent: 50 };
    assert.equal(alarmsOf(WELL, metrics, NOW).size, 0);
  });

  const cases: readonly (readonly [
    facts: Partial<HealthFacts>,
    metrics: Record<string, number>,
    name: string,
    text: string,
  ])[] = [
    [{ lossesLately: 1 }, {}, "disconnected", "the hub was lost once lately"],
    [
      { lossesLately: 3, lastLoss: "the hub was silent for 60 s" },
      {},
      "disconnected",
      "the hub was lost 3 times lately; the last time: the hub was silent for 60 s",
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
      assert.deepEqual([...alarmsOf({ ...WELL, ...facts }, metrics, NOW)], [[name, text]]);
    });
  }

  it("have the names that no application's alarm may have", () => {
    assert.deepEqual([...OWN_ALARMS].sort(), [...new Set(cases.map(([, , name]) => name))].sort());
  });

  const setUp = () => {
    const clock = new FakeClock(NOW);
    const list = new AlarmList(clock, silentLog);
    const board: { facts: HealthFacts; metrics: () => Promise<Metrics> } = {
      facts: WELL,
      metrics: async () => Promise.resolve({}),
    };
    const own = new OwnAlarms({
      ...{ list, clock, log: silentLog, facts: () => board.facts },
      metrics: async () => board.metrics(),
    });
    const names = (): string[] => list.current.map(({ name }) => name);
    return { clock, list, board, own, names };
  };

  it("are raised and cleared as the board changes, and leave an application's alone", async () => {
    const { clock, list, board, own, names } = setUp();
    list.raise("pump", "");
    own.start();
    board.facts = { ...WELL, pendingValidation: true };
    await own.refresh();
    assert.deepEqual(names(), ["pump", "not_validated"]);
    board.facts = { ...WELL, firmwareProblem: "no fwup" };
    board.metrics = async () => Promise.resolve({ disk_used_percentage: 95 });
    await clock.advance(30_000);
    assert.deepEqual(names(), ["pump", "no_updates", "disk_low"]);
    own.stop();
    await clock.advance(0);
    assert.equal(clock.pending, 0);
  });

  it("keep what the disk was when it hangs or can't be read", async () => {
    const { clock, board, own, names } = setUp();
    board.metrics = async () => Promise.resolve({ disk_used_percentage: 95 });
    await own.refresh();
    board.metrics = async () => new Promise(() => undefined);
    board.facts = { ...WELL, reverted: true };
    const refreshed = own.refresh();
    await clock.advance(5000);
    await refreshed;
    assert.deepEqual(names(), ["disk_low", "reverted"]);
    board.metrics = async () => Promise.reject(new Error("no /proc"));
    await own.refresh();
    assert.deepEqual(names(), ["disk_low", "reverted"]);
  });

  it("count the losses of the hub until a connection has held for an hour", async () => {
    const clock = new FakeClock();
    const losses = new ConnectionLosses(clock);
    const note = (connection: LinkStatus["connection"], lastError?: string): void =>
      losses.note({ connection, lastError } as LinkStatus);
    note("connecting");
    note("connected");
    assert.equal(losses.lately, 0);
    note("disconnected", "silent");
    note("connecting", "silent");
    await clock.advance(5 * 3_600_000);
    assert.deepEqual([losses.lately, losses.reason], [1, "silent"]);
    note("connected");
    await clock.advance(3_599_999);
    assert.equal(losses.lately, 1);
    note("disconnected", "closed");
    assert.equal(losses.lately, 2);
    note("connected");
    await clock.advance(3_600_000);
    assert.equal(losses.lately, 0);
    note("disconnected", "closed");
    assert.equal(losses.lately, 1);
  });
});
