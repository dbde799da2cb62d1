/** The limit of a rate. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TokenBucket } from "../../src/platform/pace.ts";
import { FakeClock } from "./fake-clock.ts";

describe("the token bucket", () => {
  it("lets a burst through, then the rate, and saves up one burst at most", async () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket({ perSecond: 5, burst: 10 }, clock);
    const taken = (): number => {
      let count = 0;
      while (bucket.take()) count += 1;
      return count;
    };
    assert.equal(taken(), 10);
    await clock.advance(1000);
    assert.equal(taken(), 5);
    await clock.advance(100);
    assert.equal(taken(), 0);
    await clock.advance(100);
    assert.equal(taken(), 1);
    await clock.advance(3_600_000);
    assert.equal(taken(), 10);
  });

  it("returns how long it takes to earn the tokens that were overdrawn", async () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket({ perSecond: 5, burst: 10 }, clock);
    assert.equal(bucket.spend(10), 0);
    assert.equal(bucket.spend(5), 1000);
    assert.equal(bucket.spend(5), 2000, "debts add up");
    await clock.advance(1500);
    assert.equal(bucket.spend(0), 500);
    assert.equal(bucket.take(), false);
    await clock.advance(700);
    assert.equal(bucket.take(), true);
  });
});
