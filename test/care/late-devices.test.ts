/** What is missing when the agent starts is looked for again, and ever less often. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LateDevices } from "../../src/care/late-devices.ts";
import { silentLog } from "../../src/platform/log.ts";
import { FakeClock } from "../platform/fake-clock.ts";

describe("a device that is missing at the start", () => {
  it("is looked for after 2 s, then after twice as long each time, until it is there", async () => {
    const clock = new FakeClock();
    const late = new LateDevices(clock, silentLog);
    const looks: number[] = [];
    late.start(async () => {
      looks.push(clock.monotonic());
      return Promise.resolve(looks.length === 4);
    });
    const startMs = clock.monotonic();
    await clock.advance(3_600_000);
    assert.deepEqual(
      looks.map((at) => at - startMs),
      [2000, 6000, 14_000, 30_000],
    );
    assert.equal(clock.pending, 0);
    await late.stop();
  });

  it("is looked for again after a look that failed, and no more once the agent stops", async () => {
    const clock = new FakeClock();
    const late = new LateDevices(clock, silentLog);
    let looks = 0;
    late.start(async () => {
      looks += 1;
      return Promise.reject(new Error("the bus is busy"));
    });
    await clock.advance(6000);
    assert.equal(looks, 2);
    await late.stop();
    await clock.advance(3_600_000);
    assert.deepEqual([looks, clock.pending], [2, 0]);
  });
});
