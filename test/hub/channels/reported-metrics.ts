/**
 * Numbers that a device reports, as the hub keeps them: those of extension `metrics`, and those in a health report. A
 * hub of API 2.4 trims each report to 20 names (protocol §7.3) and tells the operators what it dropped.
 */
import { isMap } from "../crash.ts";
import type { DeviceRecord } from "../device-record.ts";
import { allowed, type ChannelContext, type Reader } from "./channel.ts";

const RATE = { perSecond: 1, burst: 5 };
const MAX_REPORTS = 60;
const MAX_SKEW_MS = 24 * 3_600_000;
const MAX_NAMES = 20;
const MAX_NAME_BYTES = 64;
/** Readings that the stand-in keeps. */
const MAX_KEPT = 2000;

/** Extension `metrics`, 0.1.0. */
export function readMetrics(context: ChannelContext): Reader {
  const { record, hub } = context;
  const drop = (what: string): void => void record.dropped.push({ extension: "metrics", what });
  return {
    handle(event, payload) {
      if (event !== "report") return;
      const reports: unknown = isMap(payload) ? payload["reports"] : undefined;
      if (!Array.isArray(reports)) {
        drop("a message without reports");
        return;
      }
      if (reports.length === 0) return;
      if (!allowed(context, "metrics", RATE)) {
        drop("a message over the rate limit");
        return;
      }
      if (reports.length > MAX_REPORTS) drop(`${reports.length - MAX_REPORTS} reports over ${MAX_REPORTS}`);
      for (const report of reports.slice(0, MAX_REPORTS) as unknown[]) {
        const { timestamp, metrics } = isMap(report) ? report : {};
        const atMs = timeIn(timestamp);
        if (!isMap(metrics) || atMs === undefined) drop("a report without metrics or a time");
        else if (Math.abs(atMs - hub.nowMs()) > MAX_SKEW_MS) drop("a report of another day");
        else keepMetrics(record, atMs, trimmed(metrics, drop));
      }
    },
    close: () => undefined,
  };
}

/** The metrics of a health report; hubs of API 2.3 keep any number of them. */
export function readHealthMetrics({ record, hub }: ChannelContext, metrics: unknown): void {
  if (!isMap(metrics)) return;
  const drop = (what: string): void => void record.dropped.push({ extension: "health", what });
  keepMetrics(record, hub.nowMs(), hub.api === "2.3" ? numbersIn(metrics) : trimmed(metrics, drop));
}

/** ISO 8601 with an offset, as ms since 1970. */
export function timeIn(text: unknown): number | undefined {
  const hasOffset = typeof text === "string" && /^\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)$/.test(text);
  const ms = hasOffset ? Date.parse(text) : NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

function keepMetrics(record: DeviceRecord, atMs: number, metrics: Readonly<Record<string, number>>): void {
  record.metrics.push({ atMs, metrics });
  record.metrics.sort((a, b) => a.atMs - b.atMs);
  record.metrics.splice(0, record.metrics.length - MAX_KEPT);
}

function trimmed(
  metrics: Readonly<Record<string, unknown>>,
  drop: (what: string) => void,
): Record<string, number> {
  const numbers = numbersIn(metrics);
  const usable = Object.keys(numbers)
    .filter((name) => Buffer.byteLength(name) <= MAX_NAME_BYTES)
    .sort();
  const kept = usable.slice(0, MAX_NAMES);
  for (const name of Object.keys(metrics).filter((given) => !kept.includes(given))) drop(name);
  return Object.fromEntries(kept.map((name) => [name, numbers[name] ?? NaN]));
}

function numbersIn(metrics: Readonly<Record<string, unknown>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(metrics).flatMap(([name, value]) => (typeof value === "number" ? [[name, value]] : [])),
  );
}
