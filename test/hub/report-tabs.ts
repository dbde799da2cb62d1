/**
 * The tabs of the hub's page that show what a device reported: tables, with buttons where the hub can ask the
 * device for something. The page draws them all in one way, so a new tab is an entry in {@link REPORT_TABS}, and an
 * option in console-page.html.
 */
import { membersOf } from "./channels/components.ts";
import { isMap } from "./crash.ts";
import type { DeviceRecord } from "./device-record.ts";

/** Sends a message of topic `extensions` to the device; with `confirm`, the page asks first. */
export interface Button {
  readonly label: string;
  readonly confirm?: string;
  readonly event: string;
  readonly payload: unknown;
}

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | Button)[])[];
}

export interface ReportTab {
  readonly tables: (record: DeviceRecord) => readonly Table[];
  /** The request that the hub repeats while somebody looks at the tab, if there is one. */
  readonly watched?: { readonly event: string; readonly everyMs: number };
}

const MAX_ROWS = 100;

const METRICS: ReportTab = {
  tables({ metrics, dropped }) {
    const newest = [...metrics].reverse();
    const now = Object.entries(newest[0]?.metrics ?? {});
    return [
      {
        title: "Now",
        columns: ["metric", "value"],
        rows: now.map(([name, value]) => [name, String(value)]),
      },
      {
        title: `${metrics.length} readings`,
        columns: ["time", "metrics"],
        rows: newest.slice(0, MAX_ROWS).map(({ atMs, metrics: numbers }) => [
          time(atMs),
          Object.entries(numbers)
            .map(([name, value]) => `${name} ${value}`)
            .join(", "),
        ]),
      },
      droppedOf(["health", "metrics"], dropped),
    ];
  },
  watched: { event: "metrics:check", everyMs: 60_000 },
};

const ALARMS: ReportTab = {
  tables: ({ alarms, alarmHistory, dropped }) => [
    {
      title: "Raised",
      columns: ["alarm", "description", "since"],
      rows: [...alarms].map(([name, { description, raisedAtMs }]) => [
        ...[name, description ?? ""],
        time(raisedAtMs),
      ]),
    },
    {
      title: "History",
      columns: ["time", "alarm", "event", "description"],
      rows: [...alarmHistory]
        .reverse()
        .slice(0, MAX_ROWS)
        .map(({ atMs, alarm, event, description }) => [time(atMs), alarm, event, description ?? ""]),
    },
    droppedOf(["alarms"], dropped),
  ],
};

const COMPONENTS: ReportTab = {
  tables({ topology, componentResults, metadata, metrics, dropped }) {
    const values = isMap(metadata) ? metadata : {};
    const now = metrics.at(-1)?.metrics ?? {};
    const ref = `page-${componentResults.length}`;
    const members = topology === undefined ? [] : membersOf(topology);
    return [
      ...members.map((member): Table => {
        const { identifier: component } = member;
        const actions = member.actions.map(({ identifier: action, label = action, confirm }) => ({
          label,
          ...(confirm && { confirm: `${label}?` }),
          event: "components:action:run",
          payload: { ref, component, action },
        }));
        return {
          title: member.label ?? component,
          columns: ["", "now", ""],
          rows: [
            ...member.metrics.map((name) => [name, String(now[name] ?? "")]),
            ...member.modes.map(({ identifier: mode, label = mode, metadataKey, values: choices }) => [
              ...[label, textIn(values[metadataKey])],
              ...choices.map((value) => ({
                label: value,
                event: "components:mode:set",
                payload: { ref, component, mode, value },
              })),
            ]),
            ...(actions.length === 0 ? [] : [["", "", ...actions]]),
          ],
        };
      }),
      {
        title: "Results",
        columns: ["component", "request", "status", "output"],
        rows: [...componentResults]
          .reverse()
          .slice(0, MAX_ROWS)
          .map((result) => [
            result["component"] ?? "",
            result["action"] ?? `${result["mode"] ?? ""} ${result["value"] ?? ""}`,
            ...[result["status"] ?? "", result["output"] ?? ""],
          ]),
      },
      droppedOf(["components"], dropped),
    ];
  },
};

const ERRORS: ReportTab = {
  tables({ errors, dropped }) {
    const issues = new Map<string, typeof errors>();
    for (const error of errors) {
      const issue = `${error.kind}: ${error.reason}`;
      issues.set(issue, [...(issues.get(issue) ?? []), error]);
    }
    const newest = errors.at(-1);
    return [
      {
        title: "Issues",
        columns: ["error", "times", "last seen", "source"],
        rows: [...issues]
          .reverse()
          .slice(0, MAX_ROWS)
          .map(([issue, seen]) => {
            const times = seen.reduce((sum, { context }) => sum + Number(context["times"] ?? 1), 0);
            return [issue, String(times), time(seen.at(-1)?.atMs ?? 0), seen.at(-1)?.source ?? ""];
          }),
      },
      {
        title: "The newest",
        columns: ["", ""],
        rows:
          newest === undefined
            ? []
            : [
                ...Object.entries({ message: newest.message, firmware: newest.firmwareUuid }),
                ...Object.entries(newest.context),
                ...newest.frames.map((frame) => ["at", JSON.stringify(frame)]),
              ],
      },
      droppedOf(["error_reports"], dropped),
    ];
  },
};

/** By the names of the page's options. */
export const REPORT_TABS: Readonly<Record<string, ReportTab | undefined>> = {
  alarms: ALARMS,
  components: COMPONENTS,
  errors: ERRORS,
  metrics: METRICS,
};

/** What the hub dropped of these extensions' messages, of which NervesHub notifies the product's operators. */
function droppedOf(extensions: readonly string[], dropped: DeviceRecord["dropped"]): Table {
  const rows = dropped.filter(({ extension }) => extensions.includes(extension));
  return {
    title: "Dropped by the hub",
    columns: ["extension", "what"],
    rows: rows.slice(-MAX_ROWS).map(({ extension, what }) => [extension, what]),
  };
}

function textIn(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function time(atMs: number): string {
  return new Date(atMs).toISOString();
}
