/**
 * Extension `alarms` 0.1.0 on the hub's side, and the alarms of a health report (protocol §7.3). A message over the
 * rate limit is dropped, and the hub asks for all alarms ten seconds later, once for however many it dropped.
 */
import type { Cancel } from "../../../src/platform/clock.ts";
import { isMap } from "../crash.ts";
import type { DeviceRecord } from "../device-record.ts";
import { allowed, type ChannelContext, type Reader } from "./channel.ts";
import { timeIn } from "./reported-metrics.ts";

const RATE = { perSecond: 1, burst: 10 };
const SYNC_DELAY_MS = 10_000;
const MAX_NAME = 255;
const MAX_AGE_MS = 72 * 3_600_000;
const MAX_AHEAD_MS = 3_600_000;

interface Alarm {
  readonly name: string;
  readonly description: string | null;
  readonly atMs: number;
}

export function readAlarms(context: ChannelContext): Reader {
  const { record, hub } = context;
  let cancelSync: Cancel | undefined;
  const drop = (what: string): void => void record.dropped.push({ extension: "alarms", what });
  const take = (apply: () => void): void => {
    if (allowed(context, "alarms", RATE)) {
      apply();
      return;
    }
    drop("a message over the rate limit");
    cancelSync ??= hub.clock.after(SYNC_DELAY_MS, () => {
      cancelSync = undefined;
      context.push("alarms:sync", {});
    });
  };
  return {
    handle(event, payload) {
      if (!isMap(payload)) return;
      if (event === "snapshot") {
        const entries = Array.isArray(payload["alarms"]) ? (payload["alarms"] as unknown[]) : [undefined];
        const alarms = entries.map((entry) => alarmIn(entry, "raised_at", hub.nowMs()));
        if (alarms.includes(undefined)) drop("a snapshot with a bad entry");
        else
          take(() => {
            cancelSync?.();
            cancelSync = undefined;
            replace(record, alarms as Alarm[], hub.nowMs());
          });
      } else if (event === "raised") {
        const alarm = alarmIn(payload, "raised_at", hub.nowMs());
        if (alarm === undefined) drop("an alarm without a name");
        else take(() => raise(record, alarm));
      } else if (event === "cleared") {
        const alarm = alarmIn(payload, "cleared_at", hub.nowMs());
        if (alarm === undefined) drop("an alarm without a name");
        else take(() => clear(record, alarm.name, alarm.atMs));
      }
    },
    close() {
      cancelSync?.();
    },
  };
}

/** The alarms of a health report. Hubs of API 2.4 keep theirs when the report has none, not even an empty map. */
export function readHealthAlarms({ record, hub }: ChannelContext, alarms: unknown): void {
  if (alarms === undefined && hub.api !== "2.3") return;
  const entries = Object.entries(isMap(alarms) ? alarms : {});
  const atMs = hub.nowMs();
  replace(
    record,
    entries.map(([name, description]) => ({ name, description: String(description), atMs })),
    atMs,
  );
}

/** A time that is not believable is that of the message. */
function alarmIn(entry: unknown, timeKey: string, nowMs: number): Alarm | undefined {
  if (!isMap(entry)) return undefined;
  const { alarm, description } = entry;
  if (typeof alarm !== "string" || alarm === "" || alarm.length > MAX_NAME) return undefined;
  const atMs = timeIn(entry[timeKey]) ?? nowMs;
  const believable = atMs - nowMs <= MAX_AHEAD_MS && nowMs - atMs <= MAX_AGE_MS;
  return {
    name: alarm,
    description: typeof description === "string" ? description : null,
    atMs: believable ? atMs : nowMs,
  };
}

function replace(record: DeviceRecord, alarms: readonly Alarm[], nowMs: number): void {
  const names = alarms.map(({ name }) => name);
  for (const alarm of alarms) raise(record, alarm);
  for (const name of [...record.alarms.keys()]) if (!names.includes(name)) clear(record, name, nowMs);
}

/** One that is raised already keeps its time. */
function raise(record: DeviceRecord, { name, description, atMs }: Alarm): void {
  const known = record.alarms.get(name);
  record.alarms.set(name, { description, raisedAtMs: known?.raisedAtMs ?? atMs });
  if (known === undefined) record.alarmHistory.push({ atMs, alarm: name, event: "raised", description });
}

function clear(record: DeviceRecord, name: string, atMs: number): void {
  if (!record.alarms.delete(name)) return;
  record.alarmHistory.push({ atMs, alarm: name, event: "resolved", description: null });
}
