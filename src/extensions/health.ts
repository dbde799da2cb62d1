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
  /** Connections to the hub that have ended, until one has held for an hour. */
  readonly lossesLately: number;
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
  /** Those that are raised, with their descriptions; undefined when the hub gets them from extension `alarms`. */
  readonly alarms: () => Promise<Readonly<Record<string, string>> | undefined>;
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
    const { metrics: readMetrics, alarms: readAlarms, clock } = this.#options;
    const [metrics, alarms, board] = await Promise.all([
      readMetrics(),
      readAlarms(),
      this.#boardMetadata(log),
    ]);
    const facts = this.#options.facts();
    return {
      timestamp: new Date(clock.now()).toISOString(),
      metadata: { ...board, ...facts.metadata },
      // Today's hub takes a missing key for "nothing to say", and an empty map for "none".
      ...(alarms !== undefined && { alarms }),
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
