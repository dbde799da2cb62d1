import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { createAskAgain, type AskAgain, type Due } from "../../src/update/reschedule.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const DELAY_MS = 3_600_000;

describe("a rescheduled update", () => {
  let clock: FakeClock;
  let askAgain: AskAgain;
  let busy: boolean;
  let joins: number;
  let kept: Due | null;
  /** Another agent, by the same journal. */
  const start = (): AskAgain => {
    const next = createAskAgain({
      kept,
      keep: (due) => (kept = due),
      busy: () => busy,
      rejoin: () => (joins += 1),
      hubTimeMs: () => clock.now(),
      clock,
      random: () => 0.5,
    });
    next.joined();
    return next;
  };
  beforeEach(() => {
    clock = new FakeClock();
    busy = false;
    joins = 0;
    kept = null;
    askAgain = start();
  });

  it("is asked for once the hub's own count has ended as well, and once", async () => {
    askAgain.after(DELAY_MS);
    await clock.advance(DELAY_MS);
    assert.equal(joins, 0);
    await clock.advance(10_000);
    assert.equal(joins, 1);
    await clock.advance(10 * DELAY_MS);
    assert.equal(joins, 1);
  });

  it("is asked for when it was put off last: one timer, however often the hub was told", async () => {
    askAgain.after(DELAY_MS);
    await clock.advance(DELAY_MS / 2);
    askAgain.after(DELAY_MS);
    assert.equal(clock.pending, 1);
    await clock.advance(DELAY_MS / 2 + 10_000);
    assert.equal(joins, 0);
    await clock.advance(DELAY_MS / 2);
    assert.equal(joins, 1);
  });

  it("does not disturb another update, and is asked for after it", async () => {
    busy = true;
    askAgain.after(DELAY_MS);
    await clock.advance(2 * DELAY_MS);
    assert.equal(joins, 0);
    busy = false;
    await clock.advance(60_000);
    assert.equal(joins, 1);
  });

  it("is asked for by the next agent when this one ends, at the same time, and once", async () => {
    askAgain.after(DELAY_MS);
    await clock.advance(DELAY_MS / 2);
    askAgain.stop();
    askAgain = start();
    await clock.advance(DELAY_MS / 2);
    assert.equal(joins, 0);
    await clock.advance(10_000);
    assert.equal(joins, 1);
    askAgain.stop();
    askAgain = start();
    await clock.advance(10 * DELAY_MS);
    assert.equal(joins, 1);
  });

  it("is asked for by the next agent's own join when that time came before", async () => {
    kept = { atMs: clock.now() - DELAY_MS, delayMs: DELAY_MS };
    askAgain = start();
    await clock.advance(10 * DELAY_MS);
    assert.equal(joins, 0);
    assert.equal(kept, null);
  });

  it("waits no longer than it was told, whatever became of the clock", async () => {
    kept = { atMs: clock.now() + 1000 * DELAY_MS, delayMs: DELAY_MS };
    askAgain = start();
    await clock.advance(DELAY_MS);
    assert.equal(joins, 1);
  });

  it("is not asked for by an agent that stops", async () => {
    askAgain.after(DELAY_MS);
    askAgain.stop();
    askAgain.after(DELAY_MS);
    assert.equal(clock.pending, 0);
    await clock.advance(2 * DELAY_MS);
    assert.equal(joins, 0);
  });
});
