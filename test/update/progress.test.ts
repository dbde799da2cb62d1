/** How often progress is reported. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { throttleProgress } from "../../src/update/progress.ts";
import { FakeClock } from "../platform/fake-clock.ts";

describe("progress", () => {
  const start = () => {
    const clock = new FakeClock();
    const sent: number[] = [];
    return { clock, sent, report: throttleProgress(clock, (percent) => sent.push(percent)) };
  };

  it("is reported at most every 500 ms", async () => {
    const { clock, sent, report } = start();
    report(1);
    await clock.advance(499);
    report(2);
    assert.deepEqual(sent, [1]);
    await clock.advance(1);
    report(3);
    assert.deepEqual(sent, [1, 3]);
  });

  it("is reported only when the whole percentage grew", async () => {
    const { clock, sent, report } = start();
    for (const percent of [5, 5.9, 4, 6.1, 6]) {
      report(percent);
      await clock.advance(500);
    }
    assert.deepEqual(sent, [5, 6]);
  });

  it("reports 100 at once, and once", () => {
    const { sent, report } = start();
    for (const percent of [99, 100, 100, 250]) report(percent);
    assert.deepEqual(sent, [99, 100]);
  });
});
