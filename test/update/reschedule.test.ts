/** When the agent asks the hub again for an update that was put off. */
import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { Reschedule } from "../../src/update/reschedule.ts";
import type { Journal } from "../../src/firmware/journal.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";

const DELAY_MS = 3_600_000;

describe("a rescheduled update", () => {
  let clock: FakeClock;
  let reschedule: Reschedule;
  let busy: boolean;
  let joins: number;
  let kept: Journal["askAgain"];
  /** Another agent with the same journal. */
  const start = (): Reschedule => {
    const next = new Reschedule({
      journal: {
        askAgain: kept,
        async update({ askAgain = null }) {
          kept = askAgain;
          return Promise.resolve(true);
        },
      },
      updater: {
        get status() {
          const state = busy ? ("writing" as const) : ("idle" as const);
          return {
            ...{ state, uuid: null, percent: 0, waiting: undefined, stillForMs: undefined },
            held: undefined,
          };
        },
      },
      link: { hubTimeMs: () => clock.now() },
      world: testWorld({ clock, random: () => 0.5 }),
    });
    next.on("due", () => (joins += 1));
    next.joined();
    return next;
  };
  beforeEach(() => {
    clock = new FakeClock();
    busy = false;
    joins = 0;
    kept = null;
    reschedule = start();
  });

  it("is requested once, after the hub's own count has ended as well", async () => {
    reschedule.after(DELAY_MS);
    await clock.advance(DELAY_MS);
    assert.equal(joins, 0);
    await clock.advance(10_000);
    assert.equal(joins, 1);
    await clock.advance(10 * DELAY_MS);
    assert.equal(joins, 1);
  });

  it("is requested once, at the last of the times that it was put off to", async () => {
    reschedule.after(DELAY_MS);
    await clock.advance(DELAY_MS / 2);
    reschedule.after(DELAY_MS);
    assert.equal(clock.pending, 1);
    await clock.advance(DELAY_MS / 2 + 10_000);
    assert.equal(joins, 0);
    await clock.advance(DELAY_MS / 2);
    assert.equal(joins, 1);
  });

  it("does not disturb another update, and is requested after it", async () => {
    busy = true;
    reschedule.after(DELAY_MS);
    await clock.advance(2 * DELAY_MS);
    assert.equal(joins, 0);
    busy = false;
    await clock.advance(60_000);
    assert.equal(joins, 1);
  });

  it("is requested once, at the same time, by the next agent when this one ends", async () => {
    reschedule.after(DELAY_MS);
    await clock.advance(DELAY_MS / 2);
    reschedule.stop();
    reschedule = start();
    await clock.advance(DELAY_MS / 2);
    assert.equal(joins, 0);
    await clock.advance(10_000);
    assert.equal(joins, 1);
    reschedule.stop();
    reschedule = start();
    await clock.advance(10 * DELAY_MS);
    assert.equal(joins, 1);
  });

  it("is requested by the next agent's first join when its time has passed", async () => {
    kept = { atMs: clock.now() - DELAY_MS, delayMs: DELAY_MS };
    reschedule = start();
    await clock.advance(10 * DELAY_MS);
    assert.equal(joins, 0);
    assert.equal(kept, null);
  });

  it("waits no longer than its delay when the clock was set back", async () => {
    kept = { atMs: clock.now() + 1000 * DELAY_MS, delayMs: DELAY_MS };
    reschedule = start();
    await clock.advance(DELAY_MS);
    assert.equal(joins, 1);
  });

  it("is not requested by an agent that has stopped", async () => {
    reschedule.after(DELAY_MS);
    reschedule.stop();
    reschedule.after(DELAY_MS);
    assert.equal(clock.pending, 0);
    await clock.advance(2 * DELAY_MS);
    assert.equal(joins, 0);
  });
});
