/** The clock of tests that depend on time, so that they need not sleep. */
import { setImmediate } from "node:timers/promises";
import type { Clock } from "../../src/platform/clock.ts";

/** A clock that stands still until `advance` moves it; timers run in the order of their times. */
export class FakeClock implements Clock {
  #nowMs: number;
  #monotonicMs = 0;
  readonly #timers = new Set<{ readonly at: number; readonly task: () => void }>();

  constructor(nowMs = Date.UTC(2026, 0, 1)) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#monotonicMs;
  }

  after(delayMs: number, task: () => void): () => void {
    const timer = { at: this.#monotonicMs + delayMs, task };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** How many timers wait: 0 shows that nothing was left behind. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Delay in ms until the next timer, if one waits. */
  get nextDelay(): number | undefined {
    const next = this.#next();
    return next === undefined ? undefined : next.at - this.#monotonicMs;
  }

  /** Moves time on, running what falls due; lets pending promises settle around each timer. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonicMs + ms;
    await setImmediate();
    for (let next = this.#next(); next !== undefined && next.at <= end; next = this.#next()) {
      this.#timers.delete(next);
      this.#moveTo(next.at);
      next.task();
      await setImmediate();
    }
    this.#moveTo(end);
    await setImmediate();
  }

  /** The wall clock jumps, as when NTP sets it; timers are untouched. */
  jump(ms: number): void {
    this.#nowMs += ms;
  }

  #next(): { readonly at: number; readonly task: () => void } | undefined {
    let first: { readonly at: number; readonly task: () => void } | undefined;
    for (const timer of this.#timers) if (first === undefined || timer.at < first.at) first = timer;
    return first;
  }

  #moveTo(monotonicMs: number): void {
    this.#nowMs += monotonicMs - this.#monotonicMs;
    this.#monotonicMs = monotonicMs;
  }
}
