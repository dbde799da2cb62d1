/**
 * The agent's own alarms: the one place that decides which conditions of the board a person should look at. They are
 * looked at when something happens, before each health report, and twice a minute, for what no event tells.
 */
import { type Cancel, type Clock, within } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { AlarmList } from "./alarm-list.ts";
import type { Metrics } from "./health-metrics.ts";
import type { HealthFacts } from "./health.ts";

/** Their names; an application's alarms have others. */
export const OWN_ALARMS = [
  ...["disconnected", "update_in_progress", "reverted", "not_validated", "no_updates"],
  ...["certificate_expiring", "disk_low", "memory_low"],
] as const satisfies readonly string[];

const DAY_MS = 86_400_000;
/** Enough time to replace certificates in the field by hand. */
const CERTIFICATE_WARNING_MS = 30 * DAY_MS;
const FULL_PERCENT = 90;

/** The conditions that a person should look at, by name. */
export function alarmsOf(facts: HealthFacts, metrics: Metrics, nowMs: number): ReadonlyMap<string, string> {
  const alarms = new Map<string, string>();
  const { certificateEndsMs, firmwareProblem, lastLoss, lossesLately, update } = facts;
  if (lossesLately > 0) {
    const reason = lastLoss === undefined ? "" : `; the last time: ${lastLoss}`;
    alarms.set(
      "disconnected",
      `the hub was lost ${lossesLately === 1 ? "once" : `${lossesLately} times`} lately${reason}`,
    );
  }
  if (update !== undefined) alarms.set("update_in_progress", `${update.stage}, ${update.percent} %`);
  if (facts.reverted) alarms.set("reverted", "the board fell back from the firmware that was installed last");
  if (facts.pendingValidation) alarms.set("not_validated", "the running firmware is not marked good yet");
  if (firmwareProblem !== undefined) alarms.set("no_updates", firmwareProblem);
  if (certificateEndsMs !== undefined && certificateEndsMs - nowMs < CERTIFICATE_WARNING_MS) {
    const date = new Date(certificateEndsMs).toISOString().slice(0, 10);
    alarms.set(
      "certificate_expiring",
      `the device's certificate ${certificateEndsMs < nowMs ? "expired" : "expires"} on ${date}`,
    );
  }
  const full = (alarm: string, what: string, percent = 0): void => {
    if (percent >= FULL_PERCENT) alarms.set(alarm, `${Math.round(percent)} % of the ${what} is used`);
  };
  full("disk_low", "disk", metrics["disk_used_percentage"]);
  full("memory_low", "memory", metrics["mem_used_percent"]);
  return alarms;
}

const INTERVAL_MS = 30_000;
/** A disk that hangs must not hold up the other alarms. */
const READ_TIMEOUT_MS = 5000;

export interface OwnAlarmsOptions {
  readonly facts: () => HealthFacts;
  /** The board's own numbers. */
  readonly metrics: () => Promise<Metrics>;
  readonly list: AlarmList;
  readonly clock: Clock;
  readonly log: Log;
}

/** Keeps the agent's own alarms in the list. */
export class OwnAlarms {
  readonly #options: OwnAlarmsOptions;
  /** The last ones that could be read. */
  #metrics: Metrics = {};
  #cancel: Cancel = () => undefined;
  #stopped = false;

  constructor(options: OwnAlarmsOptions) {
    this.#options = options;
  }

  /** Looks twice a minute from now on. */
  start(): void {
    this.#cancel = this.#options.clock.after(INTERVAL_MS, () => {
      void this.refresh().then(() => {
        if (!this.#stopped) this.start();
      });
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  /** Raises and clears what has changed. Never rejects. */
  async refresh(): Promise<void> {
    const { clock, log, metrics } = this.#options;
    try {
      this.#metrics = await within(clock, READ_TIMEOUT_MS, metrics(), this.#metrics);
    } catch (error) {
      log.warn(`disk and memory can't be read: ${messageOf(error)}`);
    }
    if (this.#stopped) return;
    try {
      this.#compare();
    } catch (error) {
      log.error(`the alarms can't be decided: ${messageOf(error)}`);
    }
  }

  #compare(): void {
    const { clock, facts, list } = this.#options;
    const alarms = alarmsOf(facts(), this.#metrics, clock.now());
    for (const [name, description] of alarms) list.raise(name, description);
    for (const name of OWN_ALARMS) if (!alarms.has(name)) list.clear(name);
  }
}
