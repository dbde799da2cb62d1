/**
 * How reports of an update change the stand-in hub's record of a device, as recorded of the real server:
 * states, progress, penalties, and which reports crash the channel.
 */
import { crash, isMap } from "./crash.ts";
import { isUpdateStatus, type DeviceRecord, type InFlight } from "./device-record.ts";

/** The database's integer column. */
const MAX_INTEGER = 2 ** 31 - 1;

/** A `status_update` of the device. @throws ChannelCrash where the real server's process dies */
export function applyStatus(record: DeviceRecord, payload: unknown, nowMs: number): void {
  if (!isMap(payload)) crash("status_update without a map");
  const { status: word, reason } = payload;
  if (typeof word !== "string") crash("status_update without a status");
  // As on NervesHub: for the reports of old clients.
  const status = word.toLowerCase().includes("fwup error") ? "failed" : word;
  if (!isUpdateStatus(status)) crash(`unknown status ${JSON.stringify(word.slice(0, 60))}`);
  countAttempt(record, nowMs);
  const stated = status === word ? reason : "fwup error";
  const entry = {
    atMs: nowMs,
    status,
    ...(stated !== undefined && { reason: stated }),
  };
  if (status === "rescheduled" && "delay_for" in payload) {
    const delay = payload["delay_for"];
    if (!Number.isSafeInteger(delay)) crash("delay_for is not an integer");
    const delayForMs = Number(delay);
    endInFlight(record, seconds(nowMs) + delayForMs);
    record.statuses.push({ ...entry, delayForMs });
    return;
  }
  record.statuses.push(entry);
  if (status === "failed" || status === "ignored") {
    endInFlight(record, seconds(nowMs) + (record.inFlight?.deployment?.penaltyMs ?? 0));
  } else {
    Object.assign(inFlightOf(record, nowMs), { status, progress: undefined, atMs: nowMs });
  }
}

/** `fwup_progress` or `update_progress`. @throws ChannelCrash where the real server's process dies */
export function applyProgress(
  record: DeviceRecord,
  payload: Readonly<Record<string, unknown>>,
  nowMs: number,
): void {
  const { value, stage: given = null } = payload;
  if (given === null && value === 100) {
    applyStatus(record, { status: "completed" }, nowMs);
    record.progress.push({ atMs: nowMs, stage: "completed", value });
    return;
  }
  const stage = given ?? "updating";
  if (stage !== "downloading" && stage !== "updating") {
    applyStatus(record, { status: stage }, nowMs);
    return;
  }
  if (typeof value !== "number" || !Number.isInteger(value) || Math.abs(value) > MAX_INTEGER) {
    crash("a progress value that is not an integer");
  }
  record.progress.push({ atMs: nowMs, stage, value });
  Object.assign(inFlightOf(record, nowMs), { status: stage, progress: value, atMs: nowMs });
}

function inFlightOf(record: DeviceRecord, nowMs: number): InFlight {
  record.inFlight ??= { status: "requested", progress: undefined, atMs: nowMs };
  return record.inFlight;
}

/** The first word of the device on an update that a deployment sent is an attempt. */
function countAttempt({ attempts, inFlight }: DeviceRecord, nowMs: number): void {
  if (inFlight?.deployment === undefined || inFlight.answered === true) return;
  inFlight.answered = true;
  attempts.push({ deployment: inFlight.deployment, atMs: nowMs });
}

/** Only an update that a deployment sent brings a block. */
function endInFlight(record: DeviceRecord, blockedUntil: number): void {
  if (record.inFlight?.deployment !== undefined) record.blockedUntil = blockedUntil;
  record.inFlight = undefined;
}

function seconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}
