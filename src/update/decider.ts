import type { RunningFirmware } from "../firmware/slots.ts";
import type { Decision, Offer } from "./engine.ts";
import type { Clock } from "../platform/clock.ts";
import type { runCommand } from "../platform/command.ts";
import type { Application } from "./application.ts";
import { decide, type Situation } from "./decide.ts";
import { askPolicyCommand } from "./policy-command.ts";
import { updateQuestion } from "./question.ts";

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
