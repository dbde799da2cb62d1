import { readFile } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";
import { cached, type Clock, within } from "../platform/clock.ts";
import { messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { Extension } from "./extension.ts";
import type { Metrics } from "./health-metrics.ts";

export interface HealthOptions {
  readonly facts: () => HealthFacts;
  readonly metrics: () => Promise<Metrics>;
  readonly applicationMetrics: () => Metrics;
  /** What the board is made of; asked once. */
  readonly boardMetadata: () => Promise<Readonly<Record<string, string>>>;
  readonly clock: Clock;
}

interface Check {
  readonly pass: boolean;
  readonly note: string;
}

/** NervesHub asks each hour, and people when they press a button: sooner than this, the last report will do. */
const MAX_AGE_MS = 10_000;
const METADATA_TIMEOUT_MS = 10_000;

/** Reports load, memory, disk, temperature, traffic and alarms when the hub asks, and does nothing in between. */
export function createHealth(options: HealthOptions): Extension {
  const { clock } = options;
  let before: HealthFacts | undefined;
  let metadata: Promise<Readonly<Record<string, string>>> | undefined;

  const aboutBoard = async (log: Log): Promise<Readonly<Record<string, string>>> => {
    metadata ??= options.boardMetadata().catch((error: unknown) => {
      log.warn(`what the board is made of is not known: ${messageOf(error)}`);
      return {};
    });
    return await within(clock, METADATA_TIMEOUT_MS, metadata, {});
  };

  return {
    name: "health",
    version: "0.0.1",
    start({ push, log }) {
      const report = cached(clock, MAX_AGE_MS, async () => {
        const [metrics, board] = await Promise.all([options.metrics(), aboutBoard(log)]);
        const facts = options.facts();
        const alarms = alarmsOf(facts, before, metrics, clock.now());
        before = facts;
        return {
          timestamp: new Date(clock.now()).toISOString(),
          metadata: { ...board, ...facts.metadata },
          alarms,
          metrics: { ...options.applicationMetrics(), ...metrics },
          checks: checksOf(facts),
          connectivity: {},
        };
      });
      return {
        async onMessage(event) {
          if (event === "check") push("report", { value: await report() });
        },
      };
    },
  };
}

function checksOf(facts: HealthFacts): Record<string, Check> {
  const check = (problem: string | undefined): Check => ({
    pass: problem === undefined,
    note: problem ?? "",
  });
  return {
    updates: check(facts.firmwareProblem),
    validated: check(facts.pendingValidation ? "not marked good yet" : undefined),
  };
}

/** What the agent knows of itself and its firmware, at the time of a report. */
export interface HealthFacts {
  /** Of the running firmware and the agent; shown as they are. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Connections to the hub that have ended since the agent started. */
  readonly connectionsLost: number;
  /** Why the last one ended. */
  readonly lastLoss: string | undefined;
  readonly update: { readonly stage: string; readonly percent: number } | undefined;
  readonly pendingValidation: boolean;
  readonly reverted: boolean;
  /** Why no update can be installed. */
  readonly firmwareProblem: string | undefined;
  /** Wall-clock ms. */
  readonly certificateEndsMs: number | undefined;
}

const DAY_MS = 86_400_000;
/** Time enough to replace certificates in the field by hand. */
const CERTIFICATE_WARNING_MS = 30 * DAY_MS;
const FULL_PERCENT = 90;

/**
 * What somebody should know of, by name.
 * @param before the facts of the last report, if there was one
 */
export function alarmsOf(
  facts: HealthFacts,
  before: HealthFacts | undefined,
  metrics: Metrics,
  nowMs: number,
): Record<string, string> {
  const alarms: Record<string, string> = {};
  const losses = facts.connectionsLost - (before?.connectionsLost ?? 0);
  if (losses > 0) {
    const reason = facts.lastLoss === undefined ? "" : `; the last time: ${facts.lastLoss}`;
    alarms["disconnected"] =
      `the hub was lost ${losses === 1 ? "once" : `${losses} times`} since the last report${reason}`;
  }
  if (facts.update !== undefined) {
    alarms["update_in_progress"] = `${facts.update.stage}, ${facts.update.percent} %`;
  }
  if (facts.reverted) alarms["reverted"] = "the board fell back from the firmware that was installed last";
  if (facts.pendingValidation) alarms["not_validated"] = "the running firmware is not marked good yet";
  if (facts.firmwareProblem !== undefined) alarms["no_updates"] = facts.firmwareProblem;
  const { certificateEndsMs } = facts;
  if (certificateEndsMs !== undefined && certificateEndsMs - nowMs < CERTIFICATE_WARNING_MS) {
    const date = new Date(certificateEndsMs).toISOString().slice(0, 10);
    alarms["certificate_expiring"] =
      `the device's certificate ${certificateEndsMs < nowMs ? "expired" : "expires"} on ${date}`;
  }
  const full = (alarm: string, what: string, percent = 0): void => {
    if (percent >= FULL_PERCENT) alarms[alarm] = `${Math.round(percent)} % of the ${what} is used`;
  };
  full("disk_low", "disk", metrics["disk_used_percentage"]);
  full("memory_low", "memory", metrics["mem_used_percent"]);
  return alarms;
}

/** Numbers that an application publishes for the health report; the last value of each counts. */
export interface ApplicationMetrics {
  readonly values: Metrics;
  /** @returns what is wrong with them; then none is taken */
  merge(values: Metrics): string | undefined;
}

const MAX_NAMES = 64;
const NAME = /^[A-Za-z0-9_.:-]{1,64}$/;

export function createApplicationMetrics(): ApplicationMetrics {
  let values: Metrics = {};
  return {
    get values() {
      return values;
    },
    merge(added) {
      for (const [name, value] of Object.entries(added)) {
        if (!NAME.test(name)) return "a metric's name has 1 to 64 letters, digits, or any of _ . : -";
        if (!Number.isFinite(value)) return `${name} is not a finite number`;
      }
      const merged = { ...values, ...added };
      if (Object.keys(merged).length > MAX_NAMES) return `more than ${MAX_NAMES} metrics`;
      values = merged;
      return undefined;
    },
  };
}

/**
 * What a board is made of, which does not change while it runs: asked once. Left out is what nobody says.
 * @param root the root folder, `/` on a board
 */
export async function boardMetadata(root: string): Promise<Record<string, string>> {
  const facts = {
    board: (await deviceTreeModel(root)) || (await desktopModel()),
    os: await systemName(root),
    kernel: release(),
  };
  return Object.fromEntries(Object.entries(facts).filter(([, text]) => text !== ""));
}

/** Every ARM board has one. Its texts end with a NUL. */
async function deviceTreeModel(root: string): Promise<string> {
  return (await read(join(root, "proc/device-tree/model"))).replaceAll("\0", "").trim();
}

/**
 * Only for computers without a device tree: systeminformation takes some MB, starts a dozen children, and
 * waits for some of them with the whole process.
 */
async function desktopModel(): Promise<string> {
  const { system } = await import("systeminformation");
  const { manufacturer, model } = await system();
  return [manufacturer, model].filter((text) => text !== "").join(" ");
}

/** os-release(5): the name for people. */
async function systemName(root: string): Promise<string> {
  const text = (await read(join(root, "etc/os-release"))) || (await read(join(root, "usr/lib/os-release")));
  return /^PRETTY_NAME=(["']?)(.*)\1$/m.exec(text)?.[2] ?? "";
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return "";
  }
}
