/** The results that are kept: lines of old runs stay readable, and a run adds lines that are. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { readResults, recordRun } from "./results.ts";
import type { Played } from "./round.ts";

const played = (overrides: Partial<Played>, problems: Played["outcome"]["problems"] = []): Played => ({
  kind: "power",
  seed: 7,
  plan: "",
  faults: ["power cut at a change of the disk", "power cut at a change of the disk"],
  outcome: { problems, explained: [], cuts: 2, hung: [], sentBytes: 30, neededBytes: 20, log: "" },
  ...overrides,
});

it("the recorded results in docs/figures are readable", () => {
  const results = readResults(join(import.meta.dirname, "../../docs/figures/torture.jsonl"));
  assert.ok(results.every(({ rounds, runRounds }) => rounds <= runRounds));
});

it("a run adds one line for each kind of its rounds", () => {
  const dir = mkdtempSync(join(tmpdir(), "hublink-results-"));
  try {
    const path = join(dir, "torture.jsonl");
    const run = { fwup: "1.16.0", seed: 1, only: false, startedMs: Date.now() - 60_000 };
    const broken = played({ seed: 8 }, [
      { wrong: "misled", text: "" },
      { wrong: "misled", text: "" },
    ]);
    recordRun(path, [played({}), broken], run);
    recordRun(path, [played({}), played({ kind: "disk", faults: ["full state folder"] })], run);
    const [first, second, third] = readResults(path);
    assert.equal(first?.rounds, 2);
    assert.deepEqual(first.faults, { "power cut at a change of the disk": 2 });
    assert.equal(first.wrong.misled, 1);
    assert.deepEqual(first.wrongSeeds, [8]);
    assert.deepEqual(
      [first.sentBytes, first.neededBytes, first.powerCuts, first.runSeconds],
      [60, 40, 4, 60],
    );
    assert.deepEqual(
      [second, third].map((result) => [result?.kind, result?.rounds, result?.runRounds]),
      [
        ["power", 1, 2],
        ["disk", 1, 2],
      ],
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
});
