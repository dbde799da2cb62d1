import * as v from "valibot";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { Updater } from "../firmware/update.ts";
import { ApplyParams, ControlError, type AgentStatus } from "./control-messages.ts";
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
      if (updater.status.state !== "idle") {
        throw new ControlError("unsupported", "an update is under way; revert when it has ended");
      }
      await firmware.revert();
      return {};
    },
    async apply(params) {
      const { success, output } = v.safeParse(ApplyParams, params);
      if (!success) throw new ControlError("unsupported", "apply needs {source: path or URL}");
      const outcome = await updater.apply(await localOffer(output.source, deps.fetching));
      if (outcome.result !== "installed") throw new ControlError(outcome.result, outcome.reason);
      return { firmware: outcome.firmware };
    },
    metrics: () => notBuilt("metrics go into the health report, which"),
    upload: () => notBuilt("upload"),
  };
}

function notBuilt(what: string): never {
  throw new ControlError("unsupported", `${what} is not built yet in this version of hublink`);
}
