/**
 * How an update ended, and what a failure means for the next try. NervesHub shows the reason to people; the
 * blame decides how long the board waits (history.ts). Firmware that can't be installed must not be fetched
 * again and again, and a bad line must not keep a board from good firmware.
 */
import type { FirmwareMetadata } from "../firmware/metadata.ts";
import { REBOOT_PENDING } from "../firmware/slots.ts";
import { noteDefect } from "../platform/defects.ts";
import { failedWith, Failure, messageOf } from "../platform/failure.ts";
import type { FailureCode } from "../platform/failures.ts";
import { redact } from "../platform/log.ts";

/** The firmware, which will fail again, or the circumstances: the network or the board. */
export type Blame = "firmware" | "circumstances";

/** How an offer ended. */
export type Outcome =
  | { readonly result: "installed"; readonly firmware: FirmwareMetadata }
  | { readonly result: "ignored"; readonly reason: string }
  | Failed
  | { readonly result: "rescheduled"; readonly delayMs: number; readonly reason: string };

export interface Failed {
  readonly result: "failed";
  /** One line for people, redacted. */
  readonly reason: string;
  /** The failure's code, for programs; docs/errors.md lists the codes. */
  readonly failure: FailureCode;
  readonly blame: Blame;
}

/** When the hub sends an update again that only has to wait a little; nerves_hub_link asks for no less. */
export const SOON_MS = 5 * 60_000;

/** The answer while an installed update waits for its reboot: another one would overwrite it. */
export const REBOOT_FIRST = {
  delayMs: SOON_MS,
  reason: REBOOT_PENDING,
};

/** Thrown where an update is put off, by who knows for how long. */
export class PutOff extends Failure {
  readonly delayMs: number;

  constructor({ delayMs, reason }: { readonly delayMs: number; readonly reason: string }) {
    super("failed_lately", reason);
    this.delayMs = delayMs;
  }
}

/** An update that did not come to be installed. */
export type NotInstalled = Exclude<Outcome, { readonly result: "installed" }>;

/** An update that `error` ended while it was being fetched or written. */
export function endedBy(error: unknown): NotInstalled {
  const outcome = endedBefore(error);
  return outcome.result === "failed" ? { ...outcome, blame: blameOf(error) } : outcome;
}

/** An update that `error` ended before anything of it was fetched: the firmware can't be to blame. */
export function endedBefore(error: unknown): NotInstalled {
  if (failedWith(error, "already_running", "downgrade_refused")) {
    return { result: "ignored", reason: reasonOf(error) };
  }
  if (error instanceof PutOff) {
    return { result: "rescheduled", delayMs: error.delayMs, reason: reasonOf(error) };
  }
  if (failedWith(error, "reboot_pending")) return { ...REBOOT_FIRST, result: "rescheduled" };
  if (failedWith(error, "slot_contended", "device_busy")) {
    return { result: "rescheduled", delayMs: SOON_MS, reason: reasonOf(error) };
  }
  noteDefect(error, "update");
  const failure = error instanceof Failure ? error.code : "failed";
  return { result: "failed", reason: reasonOf(error), failure, blame: "circumstances" };
}

/** fwup had begun the update and failed at it. */
const FWUP_FAILED = [
  "fwup_refused",
  "fwup_crashed",
  "fwup_stalled",
  "fwup_unproven",
] as const satisfies FailureCode[];

/** fwup could not do its work. Memory that runs out says nothing about the firmware. */
const FWUP_HINDERED = ["fwup_busy", "fwup_killed"] as const satisfies FailureCode[];

/** Whether fwup itself failed, so that what it left must not be booted. */
export function isFwups(error: unknown): boolean {
  return failedWith(error, ...FWUP_FAILED, ...FWUP_HINDERED);
}

/** NervesHub looks for the words "fwup error" in what fwup itself reported. */
function reasonOf(error: unknown): string {
  const text = redact(messageOf(error));
  return isFwups(error) ? `fwup error: ${text}` : text;
}

/** A stalled fwup counts as the firmware's fault although its kind is `io`: the same file may hang it again. */
function blameOf(error: unknown): Blame {
  if (failedWith(error, ...FWUP_FAILED)) return "firmware";
  if (failedWith(error, ...FWUP_HINDERED)) return "circumstances";
  return error instanceof Failure && error.kind === "other" ? "firmware" : "circumstances";
}
