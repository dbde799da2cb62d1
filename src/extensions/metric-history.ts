/**
 * The readings that wait for the hub: those of a day at one a minute, in memory only. Rule: bounded, whatever an
 * application publishes. Numbers are kept in flat arrays, and names once for all readings that share them: a day takes
 * about 250 KB, and only as much of it as there are readings.
 */
import type { Metrics } from "./health-metrics.ts";

/** One reading, and when it was, on the clock that never jumps. */
export interface Reading {
  readonly atMonotonicMs: number;
  readonly metrics: Metrics;
}

const MAX_READINGS = 1440;
/** As many as a report has; more of them are not kept. */
const MAX_METRICS = 20;
/** Sets of names among the readings that wait; usually there is one. */
const MAX_SHAPES = 16;
/** The hub skips what is more than 24 h off its own clock, which may be a little ahead. */
const MAX_AGE_MS = 24 * 3_600_000 - 60_000;

export class MetricHistory {
  readonly #times = new Float64Array(MAX_READINGS);
  readonly #values = new Float64Array(MAX_READINGS * MAX_METRICS);
  /** The names of each reading's values. */
  readonly #shapes: (readonly string[] | undefined)[] = Array.from({ length: MAX_READINGS });
  /** The place of the oldest reading. */
  #start = 0;
  #count = 0;

  /** How many wait. */
  get count(): number {
    return this.#count;
  }

  /** When the newest one was; undefined when none waits. */
  get newestMs(): number | undefined {
    return this.#count === 0 ? undefined : this.#times[this.#place(this.#count - 1)];
  }

  /** Adds the newest reading. The oldest ones make room for it. */
  add({ atMonotonicMs, metrics }: Reading): void {
    const entries = Object.entries(metrics).slice(0, MAX_METRICS);
    if (this.#count === MAX_READINGS) this.drop(1);
    const shape = this.#shapeOf(entries.map(([name]) => name));
    const place = this.#place(this.#count);
    this.#times[place] = atMonotonicMs;
    this.#shapes[place] = shape;
    entries.forEach(([, value], index) => (this.#values[place * MAX_METRICS + index] = value));
    this.#count += 1;
  }

  /** The oldest readings, without those that are too old for the hub. */
  oldest(count: number, nowMonotonicMs: number): readonly Reading[] {
    while (this.#count > 0 && nowMonotonicMs - (this.#times[this.#start] ?? 0) > MAX_AGE_MS) this.drop(1);
    return Array.from({ length: Math.min(count, this.#count) }, (_, index) => this.#read(this.#place(index)));
  }

  /** Forgets the oldest readings. */
  drop(count: number): void {
    for (let left = Math.min(count, this.#count); left > 0; left -= 1) {
      this.#shapes[this.#start] = undefined;
      this.#start = (this.#start + 1) % MAX_READINGS;
      this.#count -= 1;
    }
  }

  #place(index: number): number {
    return (this.#start + index) % MAX_READINGS;
  }

  #read(place: number): Reading {
    const names = this.#shapes[place] ?? [];
    const valueOf = (index: number): number => this.#values[place * MAX_METRICS + index] ?? NaN;
    return {
      atMonotonicMs: this.#times[place] ?? 0,
      metrics: Object.fromEntries(names.map((name, index) => [name, valueOf(index)])),
    };
  }

  /** The array that other readings of the same names have already. */
  #shapeOf(names: readonly string[]): readonly string[] {
    const shapes = new Set(this.#shapes.filter((shape) => shape !== undefined));
    for (const shape of shapes) if (isSame(shape, names)) return shape;
    while (this.#countShapes() >= MAX_SHAPES) this.drop(1);
    return names;
  }

  #countShapes(): number {
    return new Set(this.#shapes.filter((shape) => shape !== undefined)).size;
  }
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, index) => name === b[index]);
}
