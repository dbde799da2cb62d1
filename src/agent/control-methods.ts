import * as v from "valibot";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { Updater } from "../firmware/update.ts";
import { Failure } from "../platform/failure.ts";
import { ApplyParams, ControlError, MetricsParams, summaryOf, type AgentStatus } from "./control-messages.ts";
import type { ControlMethods } from "./control-server.ts";
import { localOffer, type OfferDeps } from "./offers.ts";
import type { Rebooter } from "./rebooter.ts";
import type { Validation } from "./validation.ts";

export interface ControlDeps {
  readonly status: () => AgentStatus;
  readonly firmware: BoardFirmware;
  readonly validation: Validation;
  readonly updater: Updater;
  readonly rebooter: Rebooter;
  readonly fetching: OfferDeps;
}

const RebootParams = v.nullish(v.object({ reason: v.nullish(v.string()) }));

/** What applications and the command line may ask of the running agent. */
export function controlMethods(deps: ControlDeps): ControlMethods {
  const { firmware, validation, updater, rebooter } = deps;
  return {
    status: () => deps.status(),
    async mark_valid() {
      if (firmware.problem !== undefined) throw firmware.problem;
      await validation.markValid();
      return {};
    },
    reboot(params) {
      const { success, output } = v.safeParse(RebootParams, params);
      if (!success) throw new ControlError("unsupported", "reboot takes {reason: text} or nothing");
      rebooter.reboot(output?.reason ?? "asked for over the control socket");
      return {};
    },
    async revert() {
      const { state } = updater.status;
      if (state === "installed") {
        throw new Failure("unavailable", "an update is installed; reboot into it, then revert");
      }
      if (state !== "idle") {
        throw new Failure("unavailable", "an update is under way; revert when it has ended");
      }
      await firmware.revert();
      return {};
    },
    async apply(params) {
      const { success, output } = v.safeParse(ApplyParams, params);
      if (!success) throw new ControlError("unsupported", "apply needs {source: path or URL}");
      const outcome = await updater.apply(await localOffer(output.source, deps.fetching));
      if (outcome.result !== "installed") throw new ControlError(outcome.result, outcome.reason);
      return { firmware: summaryOf(outcome.firmware) };
    },
    // Taken and dropped until there is a health report to put them in: an application that publishes
    // them is not broken, so it gets no error.
    metrics(params) {
      if (!v.is(MetricsParams, params)) {
        throw new ControlError("unsupported", "metrics takes {values: {name: number, …}}");
      }
      return {};
    },
    upload() {
      throw new ControlError("unsupported", "upload is not built yet in this version of hublink");
    },
    update_available: wrongDirection,
    reboot_request: wrongDirection,
    identify: wrongDirection,
  };
}

function wrongDirection(): never {
  throw new ControlError("wrong_direction", "that is a question the agent asks the application");
}
