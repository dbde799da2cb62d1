/** The rounds that the test run plays, for disk.test.ts, mixed.test.ts, network.test.ts, others.test.ts and power.test.ts. */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Kind } from "./plan.ts";
import { renderReport } from "./report.ts";
import { torture } from "./torture.ts";
import { hasCompiler, setUpWorld, type World } from "./world.ts";

const SEED = 4;
const JOBS = 2;
/** One test has many updates; a busy machine may need more time than other tests get. */
const TIMEOUT_MS = 1_800_000;

/** The tests of one kind. `npm run torture` plays any number of rounds. */
export function tortureSuite(only: Kind, rounds: number): void {
  describe("an update under torture", { skip: hasCompiler() ? false : "needs cc on Linux" }, () => {
    let world: World;
    before(async () => {
      world = await setUpWorld();
    });
    after(async () => world.remove());

    it(`ends well in ${rounds} rounds of ${only}`, { timeout: TIMEOUT_MS }, async () => {
      const played = await torture(world, { rounds, seed: SEED, only, jobs: JOBS, onRound: () => undefined });
      const wrong = played.flatMap(({ seed, plan, outcome }) =>
        outcome.problems.map(({ wrong: kind, text }) => {
          return `${kind}: ${text}\n  ${plan}\n  npm run torture -- --replay ${seed} --only ${only}\n${outcome.log}`;
        }),
      );
      const hung = played.flatMap(({ outcome }) => outcome.hung.map((text) => `an agent hung:\n${text}`));
      assert.deepEqual([...wrong, ...hung], [], renderReport(played));
    });
  });
}
