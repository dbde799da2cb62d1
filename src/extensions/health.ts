/**
 * The extension `health`: a report of metrics, alarms and checks, made when the hub asks for it. In between it
 * does nothing: NervesHub asks once an hour, and people when they press a button.
 */
import { release } from "node:os";
import { join } from "node:path";
import { cached, type Clock, within } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import { readIfThere } from "../platform/files.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import type { Extension, ExtensionContext, RunningExtension } from "./extension.ts";
import type { Metrics } from "./health-metrics.ts";

/** The state of the agent and its firmware at the time of a report. */
export interface HealthFacts {
  /** Facts about the running firmware and the agent, shown unchanged. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The number of connections to the hub that have ended since the agent started. */
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

export interface HealthOptions {
  readonly facts: () => HealthFacts;
  /** The board's and the application's, as many as a report takes. */
  readonly metrics: () => Promise<Metrics>;
  /** Facts about the board that do not change; called once. */
  readonly boardMetadata: () => Promise<Readonly<Record<string, string>>>;
  /** The values of the components' modes. They may change at any moment, so each report has them anew. */
  readonly componentValues: () => Promise<Readonly<Record<string, string>>>;
  readonly clock: Clock;
}

interface Check {
  readonly pass: boolean;
  readonly note: string;
}

/** A report that is younger than this is sent again instead of a new one. */
const MAX_AGE_MS = 10_000;
const METADATA_TIMEOUT_MS = 10_000;

export class Health implements Extension {
  readonly name = "health";
  readonly versions = ["0.0.1"] as const;
  readonly #options: HealthOptions;
  /** The facts of the last report. */
  #before: HealthFacts | undefined;
  #metadata: Promise<Readonly<Record<string, string>>> | undefined;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  start({ push, log }: ExtensionContext): RunningExtension {
    const { clock, componentValues } = this.#options;
    const report = cached(clock, MAX_AGE_MS, async () => this.#report(log));
    return {
      async onMessage(event) {
        if (event !== "check") return;
        const [value, values] = await Promise.all([report(), componentValues()]);
        push("report", { value: { ...value, metadata: { ...value.metadata, ...values } } });
      },
    };
  }

  async #report(log: Log) {
    const { metrics: readMetrics, clock } = this.#options;
    const [metrics, board] = await Promise.all([readMetrics(), this.#boardMetadata(log)]);
    const facts = this.#options.facts();
    const alarms = alarmsOf(facts, this.#before, metrics, clock.now());
    this.#before = facts;
    return {
      timestamp: new Date(clock.now()).toISOString(),
      metadata: { ...board, ...facts.metadata },
      alarms,
      metrics,
      checks: checksOf(facts),
      connectivity: {},
    };
  }

  /** Empty when it takes too long: a report without it is better than none. */
  async #boardMetadata(log: Log): Promise<Readonly<Record<string, string>>> {
    this.#metadata ??= this.#options.boardMetadata().catch((error: unknown) => {
      log.warn(`what the board is made of is not known: ${messageOf(error)}`);
      return {};
    });
    return await within(this.#options.clock, METADATA_TIMEOUT_MS, this.#metadata, {});
  }
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

const DAY_MS = 86_400_000;
/** Enough time to replace certificates in the field by hand. */
const CERTIFICATE_WARNING_MS = 30 * DAY_MS;
const FULL_PERCENT = 90;

/**
 * The conditions that a person should look at, by name.
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

/**
 * Board model, operating system and kernel, which do not change while the board runs. A fact that can't be read
 * is left out.
 */
export async function boardMetadata({ root }: World): Promise<Record<string, string>> {
  const facts = {
    board: (await deviceTreeModel(root)) || (await desktopModel()),
    os: await systemName(root),
    kernel: release(),
  };
  return Object.fromEntries(Object.entries(facts).filter(([, text]) => text !== ""));
}

/** Every ARM board has a device tree. Its texts end with a NUL. */
async function deviceTreeModel(root: string): Promise<string> {
  return (await read(join(root, "proc/device-tree/model"))).replaceAll("\0", "").trim();
}

/**
 * Used only on computers without a device tree: systeminformation takes some MB, starts a dozen children, and
 * blocks the whole process while it waits for some of them.
 */
async function desktopModel(): Promise<string> {
  const { system } = await import("systeminformation");
  const { manufacturer, model } = await system();
  return [manufacturer, model].filter((text) => text !== "").join(" ");
}

/** The PRETTY_NAME of os-release(5). */
async function systemName(root: string): Promise<string> {
  const text = (await read(join(root, "etc/os-release"))) || (await read(join(root, "usr/lib/os-release")));
  return /^PRETTY_NAME=(["']?)(.*)\1$/m.exec(text)?.[2] ?? "";
}

async function read(path: string): Promise<string> {
  return (await readIfThere(path)) ?? "";
}
