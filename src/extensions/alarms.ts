import type { Metrics } from "./health-metrics.ts";

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
