import type { Config } from "../config/schema.ts";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { Journal } from "../firmware/journal.ts";
import type { DeviceTopic } from "../hub/device-topic.ts";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import type { Log } from "../platform/log.ts";
import type { Updater } from "../update/updater.ts";
import { createApplicationCheck } from "./application-check.ts";
import type { BootRecord } from "./boot-record.ts";
import { createConnectivity } from "./connectivity.ts";
import { awaitUpdate, createRebooter, type Rebooter } from "./rebooter.ts";
import { createValidation, type Validation } from "./validation.ts";
import { createWatchdogs, vitalsOf, type Watchdogs } from "./watchdogs.ts";

export interface BoardCareOptions {
  readonly config: Config;
  readonly boot: BootRecord;
  readonly firmware: BoardFirmware;
  readonly journal: Journal;
  readonly updater: () => Updater;
  readonly hub: () => DeviceTopic;
  /** Connects to the hub now, without waiting for the next try. */
  readonly reconnect: (reason: string) => void;
  /** Ends what the agent runs besides, before a reboot. */
  readonly endChildren: () => Promise<void>;
  /** The root folder, `/` on a board. */
  readonly root: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** What keeps the board itself well: reboots, the trial of new firmware, a lost hub, the watchdogs. */
export interface BoardCare {
  readonly rebooter: Rebooter;
  readonly validation: Validation;
  readonly watchdogs: Watchdogs;
  noteConnection(connected: boolean): void;
  /** Arms the watchdogs. */
  start(): Promise<void>;
  /** Ends all of it; the watchdogs when `rest`, the agent's other parts, has ended too. */
  stop(rest: Promise<unknown>): Promise<void>;
}

/** The trial of the running firmware, if it is on one, begins at once. */
export function createBoardCare(options: BoardCareOptions): BoardCare {
  const { config, boot, firmware, journal, updater, hub, root, clock, log } = options;

  const rebooter = createRebooter({
    config: config.reboot,
    beforehand: async () => {
      await awaitUpdate(updater(), clock, log.scope("reboot"));
      await firmware.noteReboot();
    },
    tellHub: async (timeoutMs) => {
      hub().send({ event: "rebooting", payload: {} });
      await hub().flush(timeoutMs);
    },
    async endChildren() {
      await Promise.all([
        options.endChildren(),
        validation.stop(),
        connectivity.stop(),
        applicationCheck.stop(),
      ]);
    },
    note: async (reason, method) => boot.note(reason, method),
    resetByGpio: async (signal) => watchdogs.resetByGpio(signal),
    watchdogArmed: () => watchdogs.armed,
    root,
    clock,
    log: log.scope("reboot"),
  });

  const validation = createValidation({
    config: config.validation,
    pending: firmware.running !== undefined && !firmware.running.validated && !firmware.rebootOwed,
    validate: async () => firmware.validate(),
    onValidated: () => hub().send({ event: "firmware_validated", payload: {} }),
    onDeadline: () => rebooter.reboot("the running firmware was not marked good in time"),
    clock,
    runCommand,
    log: log.scope("validation"),
  });

  const connectivity = createConnectivity({
    config: config.connectivity,
    rebootsMs: journal.connectivityRebootsMs,
    keep: async (connectivityRebootsMs) => journal.update({ connectivityRebootsMs }),
    onTrial: () => validation.pending,
    reconnect: () => options.reconnect("connectivity.command was run"),
    reboot: (reason) => rebooter.reboot(reason),
    clock,
    runCommand,
    log: log.scope("connectivity"),
  });

  const applicationCheck = createApplicationCheck({
    command: config.watchdog.command,
    clock,
    runCommand,
    log: log.scope("watchdog"),
  });

  const watchdogs = createWatchdogs({
    config: config.watchdog,
    vitals: () =>
      vitalsOf({ config: config.update, updater: updater(), validation, rebooter, applicationCheck }),
    root,
    runCommand,
    clock,
    log: log.scope("watchdog"),
  });

  return {
    rebooter,
    validation,
    watchdogs,
    noteConnection: (connected) => connectivity.note(connected),
    async start() {
      await watchdogs.open();
      if (watchdogs.armed) applicationCheck.start();
    },
    async stop(rest) {
      const { rebooting } = rebooter;
      await Promise.all([
        rest,
        rebooter.stop(),
        validation.stop(),
        connectivity.stop(),
        applicationCheck.stop(),
      ]);
      await watchdogs.stop(rebooting);
    },
  };
}
