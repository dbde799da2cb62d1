/**
 * Everybody who has a say in an update, asked in the order of cost: the board's own rules (decide.ts), the
 * policy command, the application. Somebody at the board who applies a file has decided already, so only the
 * rules for safety are asked then.
 */
import type { Config } from "../config/schema.ts";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { World } from "../platform/world.ts";
import type { Application } from "./application.ts";
import { decide, type Decision } from "./decide.ts";
import type { UpdateHistory } from "./history.ts";
import type { Offer } from "./offers.ts";
import { askPolicyCommand } from "./policy-command.ts";
import { updateQuestion } from "./question.ts";
import { untilWindowMs } from "./window.ts";

export interface ApprovalOptions {
  readonly config: Pick<Config, "app" | "update">;
  readonly firmware: BoardFirmware;
  readonly history: UpdateHistory;
  readonly application: Application;
  /** Whether the running firmware still has to be proven good. */
  readonly validation: { readonly pending: boolean };
  readonly rebooter: { readonly rebooting: boolean };
  /** The reboot into an installed update; undefined when there is none. */
  readonly rebootIntoUpdate: { readonly pending: unknown };
  /** Has the wall-clock time as the hub has it, ms since 1970: the board's own clock may be wrong. */
  readonly link: { hubTimeMs(): number };
  readonly world: World;
}

/** Decides whether, and when, an offer is installed. */
export class Approval {
  readonly #options: ApprovalOptions;

  constructor(options: ApprovalOptions) {
    this.#options = options;
  }

  /** @throws Failure when nothing can be installed or the command can't be run; the signal's reason */
  async decide(offer: Offer, signal: AbortSignal): Promise<Decision> {
    const { config, firmware, application, world } = this.#options;
    const ruling = this.#rule(offer);
    if (ruling.action !== "apply" || offer.origin === "local") return ruling;
    const question = updateQuestion(offer, firmware.running);
    if (config.update.policyCommand !== "") {
      const decision = await askPolicyCommand(config.update.policyCommand, question, world, signal);
      if (decision.action !== "apply") return decision;
    }
    if (config.app.update === "ask") {
      const decision = await application.mayUpdate(question, signal);
      if (decision.action !== "apply") return decision;
    }
    return this.#rule(offer); // the answers took their time, in which the situation may have changed
  }

  #rule(offer: Offer): Decision {
    const { config, firmware, history, validation, rebooter, rebootIntoUpdate, link, world } = this.#options;
    return decide(offer, {
      firmware,
      pendingValidation: validation.pending,
      rebooting: rebooter.rebooting,
      rebootPending: rebootIntoUpdate.pending !== undefined,
      allowDowngrade: config.update.allowDowngrade,
      backOff: (uuid) => history.backOff(uuid),
      untilWindowMs: untilWindowMs(config.update.window, link.hubTimeMs(), world.random()),
    });
  }
}
