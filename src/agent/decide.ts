import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { Decision, Offer } from "../firmware/update.ts";
import { isDowngrade } from "../firmware/version.ts";

export interface DecideOptions {
  readonly firmware: BoardFirmware;
  /** Whether the running firmware still has to be proven good. */
  readonly pendingValidation: boolean;
  readonly rebooting: boolean;
  readonly allowDowngrade: boolean;
}

/** nerves_hub_link asks for no less. */
const SOON_MS = 5 * 60_000;
/** How long firmware that the board fell back from is left alone. */
const AFTER_FALL_BACK_MS = 60 * 60_000;

/**
 * Whether an offer is installed now. Pure; the table of its tests is the policy.
 * @throws Failure when nothing can be installed on this board as it is
 */
export function decide(offer: Offer, options: DecideOptions): Decision {
  const { firmware } = options;
  if (firmware.problem !== undefined) throw firmware.problem;
  if (options.rebooting) {
    return { action: "reschedule", delayMs: SOON_MS, reason: "the board is about to reboot" };
  }
  if (options.pendingValidation) {
    // fwup's upgrade tasks refuse it as well: the slot to fall back to would be overwritten.
    return { action: "reschedule", delayMs: SOON_MS, reason: "the running firmware is not validated yet" };
  }
  const { announced } = offer;
  if (offer.origin === "local") return { action: "apply" };
  if (firmware.fellBackFrom !== undefined && firmware.fellBackFrom === announced.uuid) {
    const reason = `the board fell back from this firmware: it did not prove good`;
    return { action: "reschedule", delayMs: AFTER_FALL_BACK_MS, reason };
  }
  const running = firmware.running?.version ?? "";
  if (!options.allowDowngrade && isDowngrade(running, announced.version ?? "")) {
    const reason = `${announced.version ?? ""} is older than ${running}, and update.allow_downgrade is false`;
    return { action: "ignore", reason };
  }
  return { action: "apply" };
}
