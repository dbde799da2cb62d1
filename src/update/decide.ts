/**
 * The board's own rules on whether an update is installed now. Pure; the table of its tests is the policy.
 * The rules for safety come first and hold for everybody, also for somebody at the board; the others are for
 * the hub's offers only.
 */
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import { REBOOT_PENDING } from "../firmware/slots.ts";
import { isDowngrade } from "../firmware/version.ts";
import type { UpdateHistory } from "./history.ts";
import type { Offer } from "./offers.ts";

export type Decision =
  | { readonly action: "apply" }
  | { readonly action: "ignore"; readonly reason: string }
  | { readonly action: "reschedule"; readonly delayMs: number; readonly reason: string };

/** When the hub sends an update again that only has to wait a little; nerves_hub_link asks for no less. */
export const SOON_MS = 5 * 60_000;

/** The answer while an installed update waits for its reboot: another one would overwrite it. */
export const REBOOT_FIRST = {
  action: "reschedule",
  delayMs: SOON_MS,
  reason: REBOOT_PENDING,
} as const satisfies Decision;

/** The state of the board, as far as the rules need it. */
export interface Situation {
  readonly firmware: Pick<BoardFirmware, "problem" | "running">;
  /** Whether the running firmware still has to be proven good. */
  readonly pendingValidation: boolean;
  readonly rebooting: boolean;
  /** An installed update waits for its reboot. */
  readonly rebootPending: boolean;
  readonly allowDowngrade: boolean;
  /** For how long, and why, the board leaves a firmware alone that failed or that it fell back from. */
  readonly backOff: UpdateHistory["backOff"];
  /** Time until the next update window opens; 0 inside one. */
  readonly untilWindowMs: number;
}

/**
 * Whether the board's own rules allow to install an offer now.
 * @throws Failure, the firmware's problem, when nothing can be installed on this board as it is
 */
export function decide(offer: Offer, situation: Situation): Decision {
  const { firmware } = situation;
  if (firmware.problem !== undefined) throw firmware.problem;
  if (situation.rebooting) {
    return { action: "reschedule", delayMs: SOON_MS, reason: "the board is about to reboot" };
  }
  if (situation.rebootPending) return REBOOT_FIRST;
  if (situation.pendingValidation) {
    // An update would overwrite the slot to fall back to; fwup's upgrade tasks refuse it as well.
    return { action: "reschedule", delayMs: SOON_MS, reason: "the running firmware is not validated yet" };
  }
  const { announced } = offer;
  if (offer.origin === "local") return { action: "apply" };
  const backOff = situation.backOff(announced.uuid ?? "");
  if (backOff !== undefined) return { action: "reschedule", ...backOff };
  const running = firmware.running?.version ?? "";
  const offered = announced.version ?? "";
  if (!situation.allowDowngrade && isDowngrade(running, offered)) {
    const reason = `${offered} is older than ${running}, and update.allow_downgrade is false`;
    return { action: "ignore", reason };
  }
  if (situation.untilWindowMs > 0) {
    const reason = "it is outside the board's update window";
    return { action: "reschedule", delayMs: situation.untilWindowMs, reason };
  }
  return { action: "apply" };
}
