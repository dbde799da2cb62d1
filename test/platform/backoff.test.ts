/** The delays between attempts. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Backoff } from "../../src/platform/pace.ts";

const OPTIONS = { minMs: 1000, maxMs: 60_000, jitter: 0.5 };

describe("delays between tries", () => {
  it("double up to the longest, and start over after a reset", () => {
    const backoff = new Backoff(OPTIONS, () => 0);
    const next = (): number[] => Array.from({ length: 8 }, () => backoff.next());
    const doubling = [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000];
    assert.deepEqual(next(), doubling);
    backoff.reset();
    assert.deepEqual(next(), doubling);
  });

  it("vary at random, also the first one", () => {
    const randoms = [0.5, 0, 0.999];
    const backoff = new Backoff(OPTIONS, () => randoms.shift() ?? 0);
    assert.deepEqual([backoff.next(), backoff.next(), backoff.next()], [1250, 2000, 5998]);
  });

  it("can be the longest at once, which does not count as an attempt", () => {
    const backoff = new Backoff(OPTIONS, () => 0.5);
    assert.equal(backoff.longest(), 75_000);
    assert.equal(backoff.next(), 1250);
  });

  it("stay finite and within their bounds, for any settings and any number of attempts", () => {
    const settings = fc.record({
      minMs: fc.integer({ min: 1, max: 1e6 }),
      maxMs: fc.integer({ min: 1, max: 1e7 }),
      jitter: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(settings, fc.double({ min: 0, max: 0.999, noNaN: true }), (options, random) => {
        const backoff = new Backoff(options, () => random);
        let last = 0;
        for (let tries = 0; tries < 1200; tries += 1) {
          const delayMs = backoff.next();
          assert(delayMs >= Math.min(options.minMs, options.maxMs));
          assert(delayMs <= options.maxMs * (1 + options.jitter));
          assert(delayMs >= last);
          last = delayMs;
        }
      }),
      { numRuns: 200 },
    );
  });
});
