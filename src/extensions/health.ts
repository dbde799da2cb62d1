import { within, type Clock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { alarmsOf, type HealthFacts } from "./alarms.ts";
import { cached } from "../platform/cached.ts";
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
