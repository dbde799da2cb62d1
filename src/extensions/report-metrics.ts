/**
 * Which numbers a report to the hub has. Rule: the hub keeps 20 names of a report in sorted order, drops the rest, and
 * notifies the product's operators of each board that sent more (protocol §7.3). So they are chosen here, for `health`
 * and `metrics` alike: the board's own, then the application's in the order in which they came, then the interfaces'.
 */
import type { Log } from "../platform/log.ts";
import type { BoardReading, Metrics } from "./health-metrics.ts";

const MAX_METRICS = 20;
const MAX_NAME_BYTES = 64;
/** Names of the warnings that are remembered; interfaces of containers get new names for ever. */
const MAX_WARNED = 200;

export class ReportMetrics {
  readonly #log: Log;
  readonly #warned = new Set<string>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** The numbers of one report. Of a name that is both the board's and the application's, the board's number counts. */
  choose({ core, interfaces }: BoardReading, application: ReadonlyMap<string, number>): Metrics {
    const values = new Map([...Object.entries(core), ...application, ...Object.entries(interfaces)]);
    for (const [name, value] of [...Object.entries(interfaces), ...Object.entries(core)])
      values.set(name, value);
    const usable = [...values].filter(([name, value]) => isUsable(name, value));
    const chosen = usable.slice(0, MAX_METRICS);
    this.#warn([...values.keys()].filter((name) => !chosen.some(([kept]) => kept === name)));
    return Object.fromEntries(chosen);
  }

  /** Warns of each name once. */
  #warn(dropped: readonly string[]): void {
    const fresh = dropped.filter((name) => !this.#warned.has(name));
    if (fresh.length === 0 || this.#warned.size >= MAX_WARNED) return;
    for (const name of fresh) this.#warned.add(name);
    this.#log.warn(`the hub takes ${MAX_METRICS} metrics in a report; these are left out`, {
      metrics: fresh.join(", "),
    });
  }
}

function isUsable(name: string, value: number): boolean {
  return Number.isFinite(value) && Buffer.byteLength(name) <= MAX_NAME_BYTES;
}
