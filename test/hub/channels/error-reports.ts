/**
 * Extension `error_reports` 0.1.0 on the hub's side (protocol §7.3): reports are cut to its limits, one that lacks
 * something is dropped alone, and a message over the rate limit is dropped whole.
 */
import { isMap } from "../crash.ts";
import { allowed, type ChannelContext, type Reader } from "./channel.ts";
import { timeIn } from "./reported-metrics.ts";

/** An occurrence of an error, as the hub keeps it. */
export interface KeptError {
  readonly atMs: number;
  readonly kind: string;
  readonly reason: string;
  readonly message: string;
  readonly source: string;
  readonly frames: readonly Readonly<Record<string, unknown>>[];
  readonly context: Readonly<Record<string, string>>;
  readonly firmwareUuid: string;
}

const RATE = { perSecond: 1, burst: 5 };
const MAX_REPORTS = 25;
const MAX_FRAMES = 30;
const MAX_CONTEXT = 32;

export function readErrors(context: ChannelContext): Reader {
  const { record } = context;
  const drop = (what: string): void => void record.dropped.push({ extension: "error_reports", what });
  return {
    handle(event, payload) {
      if (event !== "report") return;
      const reports: unknown = isMap(payload) ? payload["reports"] : undefined;
      if (!Array.isArray(reports)) {
        drop("a message without reports");
        return;
      }
      if (reports.length === 0) return;
      if (!allowed(context, "error_reports", RATE)) {
        drop("a message over the rate limit");
        return;
      }
      if (reports.length > MAX_REPORTS) drop(`${reports.length - MAX_REPORTS} reports over ${MAX_REPORTS}`);
      for (const report of reports.slice(0, MAX_REPORTS) as unknown[]) {
        const kept = errorIn(report, record.firmware?.["uuid"] ?? "");
        if (kept === undefined) drop("a report without a time, a kind or a reason");
        else record.errors.push(kept);
      }
    },
    close: () => undefined,
  };
}

function errorIn(report: unknown, runningUuid: string): KeptError | undefined {
  if (!isMap(report)) return undefined;
  const { timestamp, kind, reason, message, source, frames, context, firmware_uuid: uuid } = report;
  const atMs = timeIn(timestamp);
  if (atMs === undefined || typeof kind !== "string" || typeof reason !== "string") return undefined;
  return {
    ...{ atMs, kind },
    reason: cut(reason, 2048),
    message: typeof message === "string" ? cut(message, 8192) : "",
    source: source === "manual" ? "manual" : "logger",
    frames: Array.isArray(frames) ? frames.slice(0, MAX_FRAMES).filter(isMap) : [],
    context: Object.fromEntries(
      Object.entries(isMap(context) ? context : {})
        .slice(0, MAX_CONTEXT)
        .flatMap(([key, value]) => (typeof value === "string" ? [[key, cut(value, 512)]] : [])),
    ),
    firmwareUuid: typeof uuid === "string" ? uuid : runningUuid,
  };
}

function cut(text: string, maxBytes: number): string {
  return Buffer.from(text).subarray(0, maxBytes).toString();
}
