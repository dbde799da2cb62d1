/** How a fleet that loses its hub in one moment comes back, with the simulation of `npm run bench -- herd`. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { comeBack, peakOverMean, type Scenario } from "../bench/herd.ts";

const BOARDS = 1000;

describe("a fleet that has lost its hub", () => {
  const scenarios: readonly Scenario[] = [
    { name: "restarts", awayS: 0 },
    { name: "is away for 30 s", awayS: 30 },
    { name: "is away for two minutes", awayS: 120 },
    { name: "loses all topics, but no connection", awayS: 0, topicsOnly: true },
  ];
  for (const scenario of scenarios) {
    it(`comes back evenly when the hub ${scenario.name}`, async () => {
      const { peak, mean } = peakOverMean(await comeBack(BOARDS, scenario));
      // 17 to 33 boards a second: chance alone makes a busiest second of twice the mean.
      assert.ok(peak <= 2.5 * mean, `${peak} in the busiest second, ${mean} on average`);
    });
  }

  it("comes back in one second without the spread, which the simulation sees", async () => {
    const reconnect = { minMs: 1000, maxMs: 60_000, spreadMs: 0, jitter: 1 };
    const { peak } = peakOverMean(await comeBack(BOARDS, { name: "restart", awayS: 0 }, reconnect));
    assert.ok(peak > BOARDS / 2, `${peak} in the busiest second`);
  });

  it("is back within three minutes when the hub refuses what comes too fast", async () => {
    const back = await comeBack(BOARDS, { name: "restart", awayS: 0, perSecond: 10 });
    const lastS = back.backS.at(-1) ?? NaN;
    assert.ok(lastS < 180, `the last board was back after ${lastS} s`);
  });
});
