/** Deployments of the stand-in hub: which devices get which release, and when. */
import type { DeviceRecord } from "./device-record.ts";
import type { Release } from "./releases.ts";

/** A release the hub gives to every device it fits. */
export interface Deployment {
  readonly id: number;
  readonly release: Release;
  /** A signed archive that belongs to it, sent at every join. */
  readonly archive?: Release;
  /** Sent as `scripts/run` with ref `connecting_code` at every join. */
  readonly connectingCode?: string;
  /** How long a device that failed or ignored the deployment gets no other offer. */
  readonly penaltyMs: number;
  /** Answer joins with the update, as old servers did, and push none. */
  readonly inJoinReply: boolean;
}

/**
 * So many attempts at one deployment, at all or within a time, and NervesHub blocks the device without a word: its
 * defaults of `device_failure_threshold` and `device_failure_rate` (protocol §4.4).
 */
const ATTEMPTS = [
  { count: 3, withinMs: Infinity },
  { count: 5, withinMs: 180_000 },
];

/** The hub gives up an in-flight update without a report for this time. */
const IN_FLIGHT_MS = 30 * 60_000;

/** Whether the deployment is for boards like this one. The firmware that the board runs does not matter. */
export function fits(deployment: Deployment, record: DeviceRecord): boolean {
  const { product, platform, architecture } = deployment.release.meta;
  const firmware = record.firmware;
  return (
    firmware !== undefined &&
    firmware["product"] === product &&
    firmware["platform"] === platform &&
    firmware["architecture"] === architecture
  );
}

/**
 * Whether the hub would send the deployment's update now: another uuid, not proven bad, no update in
 * flight, no penalty.
 */
export function isDue(deployment: Deployment, record: DeviceRecord, nowMs: number): boolean {
  expireInFlight(record, nowMs);
  blockAfterAttempts(deployment, record, nowMs);
  return (
    fits(deployment, record) &&
    record.firmware?.["uuid"] !== deployment.release.meta.uuid &&
    record.validated !== "not_validated" &&
    record.inFlight === undefined &&
    !inPenalty(record, nowMs)
  );
}

export function inPenalty(record: DeviceRecord, nowMs: number): boolean {
  return record.blockedUntil !== undefined && record.blockedUntil > nowMs;
}

function expireInFlight(record: DeviceRecord, nowMs: number): void {
  if (record.inFlight === undefined || nowMs - record.inFlight.atMs < IN_FLIGHT_MS) return;
  record.inFlight = undefined;
  record.statuses.push({ atMs: nowMs, status: "expired" });
}

function blockAfterAttempts({ id, penaltyMs }: Deployment, record: DeviceRecord, nowMs: number): void {
  const times = record.attempts.filter(({ deployment }) => deployment.id === id).map(({ atMs }) => atMs);
  const last = times.at(-1);
  const tooMany = ATTEMPTS.some(
    ({ count, withinMs }) => times.filter((atMs) => nowMs - atMs <= withinMs).length >= count,
  );
  if (last === undefined || !tooMany || record.inFlight !== undefined) return;
  record.blockedUntil = last + penaltyMs;
  if (record.blockedUntil <= nowMs) record.attempts = []; // the penalty is over, and counting begins anew
}
