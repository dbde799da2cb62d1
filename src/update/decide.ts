import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { RunningFirmware } from "../firmware/slots.ts";
import { isDowngrade } from "../firmware/version.ts";
import type { Clock } from "../platform/clock.ts";
import type { runCommand } from "../platform/command.ts";
import type { Application } from "./application.ts";
import type { Decision, Offer } from "./engine.ts";
import type { UpdateHistory } from "./history.ts";
import { askPolicyCommand } from "./policy-command.ts";
import { SOON_MS, updateQuestion } from "./question.ts";

/** What the rules look at. */
export interface Situation {
  readonly firmware: BoardFirmware;
  /** Whether the running firmware still has to be proven good. */
  readonly pendingValidation: boolean;
  readonly rebooting: boolean;
  /** An installed update waits for its reboot. */
  readonly rebootPending: boolean;
  readonly allowDowngrade: boolean;
  /** Whether, and why, a firmware that failed or that the board fell back from is to be left alone. */
  readonly backOff: UpdateHistory["backOff"];
  /** How long the next window is away; 0 inside of one. */
  readonly untilWindowMs: number;
}

/**
 * Whether an offer may be installed now, as far as the board's own rules go. Pure; the table of its tests
 * is the policy. Safety comes first and holds for everybody; the rest is for the hub's offers.
 * @throws Failure when nothing can be installed on this board as it is
 */
export function decide(offer: Offer, situation: Situation): Decision {
  const { firmware } = situation;
  if (firmware.problem !== undefined) throw firmware.problem;
  if (situation.rebooting) {
    return { action: "reschedule", delayMs: SOON_MS, reason: "the board is about to reboot" };
  }
  if (situation.rebootPending) {
    return { action: "reschedule", delayMs: SOON_MS, reason: "an installed update waits for its reboot" };
  }
  if (situation.pendingValidation) {
    // fwup's upgrade tasks refuse it as well: the slot to fall back to would be overwritten.
    return { action: "reschedule", delayMs: SOON_MS, reason: "the running firmware is not validated yet" };
  }
  const { announced } = offer;
  if (offer.origin === "local") return { action: "apply" };
  const backOff = situation.backOff(announced.uuid ?? "");
  if (backOff !== undefined) return { action: "reschedule", ...backOff };
  const running = firmware.running?.version ?? "";
  if (!situation.allowDowngrade && isDowngrade(running, announced.version ?? "")) {
    const reason = `${announced.version ?? ""} is older than ${running}, and update.allow_downgrade is false`;
    return { action: "ignore", reason };
  }
  if (situation.untilWindowMs > 0) {
    const reason = "it is outside the board's update window";
    return { action: "reschedule", delayMs: situation.untilWindowMs, reason };
  }
  return { action: "apply" };
}

export interface DeciderOptions {
  /** As it is at the moment of asking. */
  readonly situation: () => Situation;
  readonly running: RunningFirmware | undefined;
  /** `update.policy_command`; empty for none. */
  readonly policyCommand: string;
  /** Undefined when it is not to be asked. */
  readonly application: Application | undefined;
  readonly clock: Clock;
  readonly runCommand: typeof runCommand;
}

/**
 * Decides on offers, what costs least first: the board's own rules, then the policy command, then the
 * application. Somebody at the board who applies a file has decided already: only safety is looked at.
 */
export function createDecider(
  options: DeciderOptions,
): (offer: Offer, signal: AbortSignal) => Promise<Decision> {
  const { situation, policyCommand, application } = options;
  return async (offer, signal) => {
    const ruling = decide(offer, situation());
    if (ruling.action !== "apply" || offer.origin === "local") return ruling;
    const question = updateQuestion(offer, options.running);
    if (policyCommand !== "") {
      const decision = await askPolicyCommand(policyCommand, question, { ...options, signal });
      if (decision.action !== "apply") return decision;
    }
    if (application !== undefined) {
      const decision = await application.mayUpdate(question, signal);
      if (decision.action !== "apply") return decision;
    }
    return decide(offer, situation()); // what was so before the answers came may not be so any more
  };
}
