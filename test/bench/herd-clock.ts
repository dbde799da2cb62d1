/** The clock of the herd: that of the tests looks through all timers for the next one, which 10,000 boards make slow. */
import { setImmediate } from "node:timers/promises";
import type { Clock } from "../../src/platform/clock.ts";

interface Timer {
  readonly atMs: number;
  task: (() => void) | undefined;
}

/** Timers fall due in steps of this: fewer turns of the event loop, and still a hundred in a second. */
const STEP_MS = 10;

/** A clock that `advance` moves, with its timers in a heap. */
export class HerdClock implements Clock {
  readonly #timers: Timer[] = [];
  #nowMs = 0;

  now(): number {
    return Date.UTC(2026, 0) + this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs;
  }

  after(delayMs: number, task: () => void): () => void {
    const timer: Timer = { atMs: Math.ceil((this.#nowMs + delayMs) / STEP_MS) * STEP_MS, task };
    this.#push(timer);
    return () => (timer.task = undefined);
  }

  /** Moves time on, running what falls due; promises settle after the timers of each step. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await setImmediate();
    for (let first = this.#timers[0]; first !== undefined && first.atMs <= endMs; first = this.#timers[0]) {
      this.#nowMs = first.atMs;
      while (this.#timers[0]?.atMs === this.#nowMs) this.#pop()?.task?.();
      await setImmediate();
    }
    this.#nowMs = endMs;
  }

  #push(timer: Timer): void {
    const heap = this.#timers;
    let hole = heap.push(timer) - 1;
    for (let up = (hole - 1) >> 1; hole > 0; up = (hole - 1) >> 1) {
      const parent = heap[up];
      if (parent === undefined || parent.atMs <= timer.atMs) break;
      heap[hole] = parent;
      hole = up;
    }
    heap[hole] = timer;
  }

  #pop(): Timer | undefined {
    const heap = this.#timers;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let hole = 0;
    for (;;) {
      let down = 2 * hole + 1;
      const [left, right] = [heap[down], heap[down + 1]];
      if (left !== undefined && right !== undefined && right.atMs < left.atMs) down += 1;
      const child = heap[down];
      if (child === undefined || child.atMs >= last.atMs) break;
      heap[hole] = child;
      hole = down;
    }
    heap[hole] = last;
    return first;
  }
}
