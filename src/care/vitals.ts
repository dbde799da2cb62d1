import type { Vitals } from "./feeding.ts";
import type { Config } from "../config/schema.ts";
import type { Updater } from "../update/engine.ts";
import type { ApplicationCheck } from "./application-check.ts";
import type { Rebooter } from "./rebooter.ts";
import type { Validation } from "./validation.ts";

export interface VitalsSources {
  /** `[update]` */
  readonly config: Pick<Config["update"], "stall_s">;
  readonly updater: Updater;
  readonly validation: Validation;
  readonly rebooter: Rebooter;
  readonly applicationCheck: ApplicationCheck;
}

/** How the agent is, but for its event loop. */
export function vitalsOf({
  config,
  updater,
  validation,
  rebooter,
  applicationCheck,
}: VitalsSources): Omit<Vitals, "laggingForMs"> {
  const { state, stillForMs } = updater.status;
  // In all other states it may wait for the network, which no reset of the board brings back.
  const local = state === "clearing" || state === "finishing";
  return {
    updateStillForMs: local ? stillForMs : undefined,
    updateLimitMs: config.stall_s * 1000 + SPARE_MS,
    trialOverForMs: validation.overForMs,
    checkFailures: applicationCheck.failures,
    rebootFailed: rebooter.failed,
  };
}

/** For an fwup that is ended after `stall_s` to be gone. */
const SPARE_MS = 60_000;
