import { createRebootRequest, type RebootRequest } from "../care/reboot-into-update.ts";
import type { Rebooter } from "../care/rebooter.ts";
import type { Config } from "../config/schema.ts";
import type { ControlServer } from "../control/server.ts";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import type { Log } from "../platform/log.ts";
import { createApplication } from "../update/application.ts";
import { createDecider } from "../update/decide.ts";
import type { UpdaterOptions } from "../update/engine.ts";
import type { UpdateHistory } from "../update/history.ts";
import { untilWindowMs } from "../update/window.ts";

export interface DecidingOptions {
  readonly config: Pick<Config, "app" | "update">;
  readonly firmware: BoardFirmware;
  readonly history: UpdateHistory;
  readonly rebooter: Rebooter;
  readonly control: Pick<ControlServer, "ask" | "publish">;
  /** Whether the running firmware still has to be proven good. */
  readonly pendingValidation: () => boolean;
  /** Wall-clock time as the hub has it, ms since 1970. */
  readonly hubTimeMs: () => number;
  readonly clock: Clock;
  /** From 0 (included) to 1 (excluded). */
  readonly random: () => number;
  readonly log: Log;
}

/** Who has a say in an update, and in the reboot into it. */
export interface Deciding {
  readonly decide: UpdaterOptions["decide"];
  readonly rebootRequest: RebootRequest;
}

export function createDeciding(options: DecidingOptions): Deciding {
  const { config, firmware, history, rebooter, control, clock, log } = options;
  const application = createApplication({
    config: config.app,
    ask: async (...question) => control.ask(...question),
    log: log.scope("control"),
  });
  const rebootRequest = createRebootRequest({
    config: config.app,
    application,
    reboot: (reason) => rebooter.reboot(reason),
    onDeferred: (untilMs) => control.publish("reboot_pending", { deferred_until_ms: untilMs }),
    clock,
    log: log.scope("reboot"),
  });
  const decide = createDecider({
    situation: () => ({
      firmware,
      pendingValidation: options.pendingValidation(),
      rebooting: rebooter.rebooting,
      rebootPending: rebootRequest.pending !== undefined,
      allowDowngrade: config.update.allowDowngrade,
      backOff: (uuid) => history.backOff(uuid),
      untilWindowMs: untilWindowMs(config.update.window, options.hubTimeMs(), options.random()),
    }),
    running: firmware.running,
    policyCommand: config.update.policyCommand,
    application: config.app.update === "ask" ? application : undefined,
    clock,
    runCommand,
  });
  return { decide, rebootRequest };
}
