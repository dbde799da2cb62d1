/** The delays between attempts. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Backoff } from "../../src/platform/pace.ts";

const OPTIONS = { minMs: 1000, maxMs: 60_000, jitter: 1 };

describe("delays between tries", () => {
  const nextOf = (backoff: Backoff, count: number): number[] =>
    Array.from({ length: count }, () => backoff.next());

  it("double up to the longest, and start over after a reset", () => {
    const backoff = new Backoff(OPTIONS, () => 0);
    const doubling = [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000];
    assert.deepEqual(nextOf(backoff, 8), doubling);
    backoff.reset();
    assert.deepEqual(nextOf(backoff, 8), doubling);
  });

  it("are random in all of their length, also the first one", () => {
    const randoms = [0.5, 0, 0.999];
    const backoff = new Backoff(OPTIONS, () => randoms.shift() ?? 0);
    assert.deepEqual(nextOf(backoff, 3).map(Math.round), [500, 2000, 4]);
  });

  it("are random in the share that is set", () => {
    const randoms = [0.5, 0, 0.999];
    const backoff = new Backoff({ ...OPTIONS, jitter: 0.5 }, () => randoms.shift() ?? 0);
    assert.deepEqual(nextOf(backoff, 3).map(Math.round), [750, 2000, 2002]);
  });

  it("double from the spread on after a reset", () => {
    const backoff = new Backoff({ ...OPTIONS, spreadMs: 20_000 }, () => 0);
    assert.deepEqual(nextOf(backoff, 2), [1000, 2000]);
    backoff.reset();
    assert.deepEqual(nextOf(backoff, 4), [20_000, 40_000, 60_000, 60_000]);
  });

  it("begin anywhere in the spread after a reset, however little else is random", () => {
    const backoff = new Backoff({ ...OPTIONS, spreadMs: 20_000, jitter: 0 }, () => 0.75);
    assert.equal(backoff.next(), 1000);
    backoff.reset();
    assert.deepEqual(nextOf(backoff, 2), [5000, 40_000]);
  });

  it("have no spread longer than the longest delay or shorter than the first", () => {
    for (const [spreadMs, first] of [
      [90_000, 60_000],
      [0, 1000],
    ] as const) {
      const backoff = new Backoff({ ...OPTIONS, spreadMs }, () => 0);
      backoff.reset();
      assert.equal(backoff.next(), first);
    }
  });

  it("can be long at once, which does not count as an attempt", () => {
    const backoff = new Backoff(OPTIONS, () => 0.5);
    assert.equal(backoff.longest(), 45_000);
    assert.equal(backoff.next(), 500);
  });

  it("stay finite and within their bounds, for any settings and any number of attempts", () => {
    const settings = fc.record({
      minMs: fc.integer({ min: 1, max: 1e6 }),
      maxMs: fc.integer({ min: 1, max: 1e7 }),
      spreadMs: fc.integer({ min: 0, max: 1e7 }),
      jitter: fc.double({ min: 0, max: 1, noNaN: true }),
    });
    fc.assert(
      fc.property(
        settings,
        fc.boolean(),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (options, held, random) => {
          const backoff = new Backoff(options, () => random);
          if (held) backoff.reset();
          let last = 0;
          for (let tries = 0; tries < 1200; tries += 1) {
            const delayMs = backoff.next();
            assert(delayMs > 0);
            assert(delayMs <= options.maxMs);
            assert(held || delayMs >= last);
            last = delayMs;
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
