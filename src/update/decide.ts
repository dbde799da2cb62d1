/**
 * The board's own rules on whether an update is installed now. Pure;
 * the table of its tests is the policy. The rules for safety come first and hold for everybody, also for somebody at
 * the board; the others are for the hub's offers only.
 */
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { AnnouncedMetadata, FirmwareMetadata } from "../firmware/metadata.ts";
import { isDowngrade } from "../firmware/version.ts";
import { Failure } from "../platform/failure.ts";
import { shortened } from "../platform/text.ts";
import type { UpdateHistory } from "./history.ts";
import type { Offer } from "./offers.ts";
import { REBOOT_FIRST, SOON_MS } from "./outcome.ts";

export type Decision =
  | { readonly action: "apply" }
  | { readonly action: "ignore"; readonly reason: string }
  | { readonly action: "reschedule"; readonly delayMs: number; readonly reason: string };

/** The state of the board, as far as the rules need it. */
export interface Situation {
  readonly firmware: Pick<BoardFirmware, "problem" | "running">;
  /** Whether the running firmware still has to be proven good. */
  readonly pendingValidation: boolean;
  readonly rebooting: boolean;
  /** An update that the agent installed waits for its reboot. */
  readonly rebootPending: boolean;
  readonly allowDowngrade: boolean;
  /** For how long, and why, the board leaves a firmware alone that failed or that it fell back from. */
  readonly backOff: UpdateHistory["backOff"];
  /** Time until the next update window opens; 0 inside one. */
  readonly untilWindowMs: number;
}

/** What is known of an update before its file is there. */
export type Announcement = Pick<Offer, "origin" | "announced" | "sizeBytes" | "deploymentId">;

/**
 * Whether the board's own rules allow to install an offer now.
 * @throws Failure, the firmware's problem, when nothing can be installed on this board as it is
 */
export function decide(offer: Announcement, situation: Situation): Decision {
  const { firmware } = situation;
  if (firmware.problem !== undefined) throw firmware.problem;
  if (situation.rebooting) {
    return { action: "reschedule", delayMs: SOON_MS, reason: "the board is about to reboot" };
  }
  if (situation.rebootPending || firmware.running?.rebootPending === true)
    return { ...REBOOT_FIRST, action: "reschedule" };
  if (situation.pendingValidation) {
    // An update would overwrite the slot to fall back to; fwup's upgrade tasks refuse it as well.
    return { action: "reschedule", delayMs: SOON_MS, reason: "the running firmware is not validated yet" };
  }
  const { announced } = offer;
  if (offer.origin === "local") return { action: "apply" };
  const unwanted = whyUnwanted(announced, situation);
  if (unwanted !== undefined) return { action: "ignore", reason: unwanted.message };
  const backOff = situation.backOff(announced.uuid ?? "");
  if (backOff !== undefined) return { action: "reschedule", ...backOff };
  if (situation.untilWindowMs > 0) {
    const reason = "it is outside the board's update window";
    return { action: "reschedule", delayMs: situation.untilWindowMs, reason };
  }
  return { action: "apply" };
}

/**
 * Why the hub's firmware is not installed whenever it comes: `already_running` or `downgrade_refused`. Asked of
 * the announcement, and once more of the file itself, because what was announced may be wrong. A board that
 * installed what it runs would reboot each time that somebody replays the message.
 */
export function whyUnwanted(
  { uuid, version }: AnnouncedMetadata,
  { firmware, allowDowngrade }: Pick<Situation, "firmware" | "allowDowngrade">,
): Failure | undefined {
  const running = firmware.running?.version ?? "";
  const offered = version ?? "";
  if ((uuid ?? "") !== "" && uuid === firmware.running?.uuid) {
    return new Failure("already_running", "already running");
  }
  if (allowDowngrade || !isDowngrade(running, offered)) return undefined;
  const text = `${offered} is older than ${running}, and update.allow_downgrade is false`;
  return new Failure("downgrade_refused", text);
}

/**
 * Why a file is not for this board, by its metadata. Asked before the other slot is cleared: fwup would refuse the
 * file too, but after that step, and the board would have lost the firmware that it could go back to.
 * @returns Failure `wrong_target`
 */
export function whyForeign(
  { origin, force }: Pick<Offer, "origin" | "force">,
  metadata: FirmwareMetadata,
  running: BoardFirmware["running"],
): Failure | undefined {
  if (force === true) return undefined;
  // The hub may move a board to another product; what it announced of this file was compared with it already.
  const keys = origin === "hub" ? (["platform", "architecture"] as const) : TARGET;
  const differences = keys.flatMap((key) => {
    const [here = "", there = ""] = [running?.[key], metadata[key]];
    if (here === "" || there === "" || here === there) return [];
    return [`${key} is ${JSON.stringify(shortened(there, MAX_SHOWN))}, the board's ${JSON.stringify(here)}`];
  });
  if (differences.length === 0) return undefined;
  const remedy = origin === "hub" ? "" : "; --force installs it all the same";
  return new Failure(
    "wrong_target",
    `the firmware is not for this board: ${differences.join(", ")}${remedy}`,
  );
}

/** Characters of a value that is shown. */
const MAX_SHOWN = 64;
const TARGET = ["product", "platform", "architecture"] as const;
