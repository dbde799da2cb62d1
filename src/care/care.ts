/**
 * The parts that keep the board well, and how they act on each other: the trial of new firmware and a lost hub
 * end in a reboot, and an agent that is sick starves the watchdogs.
 */
import type { Config } from "../config/schema.ts";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { Journal } from "../firmware/journal.ts";
import type { DeviceTopic } from "../hub/device-topic.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import type { Updater } from "../update/updater.ts";
import type { BootRecord } from "./boot-record.ts";
import { Connectivity } from "./connectivity.ts";
import { LateDevices } from "./late-devices.ts";
import { Rebooter, type RunningAgent } from "./rebooter.ts";
import { Validation } from "./validation.ts";
import { type AgentHealth, ApplicationCheck, Watchdogs } from "./watchdogs.ts";

export interface BoardCareOptions {
  readonly config: Config;
  readonly boot: BootRecord;
  readonly firmware: BoardFirmware;
  readonly journal: Journal;
  readonly hub: DeviceTopic;
  readonly world: World;
  readonly log: Log;
}

export class BoardCare {
  readonly watchdogs: Watchdogs;
  readonly rebooter: Rebooter;
  readonly validation: Validation;
  readonly connectivity: Connectivity;
  readonly #check: ApplicationCheck;
  readonly #late: LateDevices;
  readonly #firmware: BoardFirmware;
  readonly #hub: DeviceTopic;
  /** The join said, or will say, which firmware runs. */
  #joinedKnown = false;
  readonly #updateStallMs: number;

  constructor({ config, boot, firmware, journal, hub, world, log }: BoardCareOptions) {
    const watchdogs = new Watchdogs(config.watchdog, world, log.scope("watchdog"));
    const rebooter = new Rebooter({
      ...{ config: config.reboot, boot, firmware, hub, watchdogs, world },
      log: log.scope("reboot"),
    });
    const validation = new Validation(
      config.validation,
      { firmware, record: boot },
      world,
      log.scope("validation"),
    );
    const connectivity = new Connectivity({
      ...{ config: config.connectivity, journal, validation, world },
      log: log.scope("connectivity"),
    });
    validation.on("validated", () => hub.send({ event: "firmware_validated", payload: {} }));
    validation.on("expired", () => rebooter.reboot("the running firmware was not marked good in time"));
    connectivity.on("reboot", (reason) => rebooter.reboot(reason));
    this.watchdogs = watchdogs;
    this.rebooter = rebooter;
    this.validation = validation;
    this.connectivity = connectivity;
    this.#check = new ApplicationCheck(config.watchdog.command, world, log.scope("watchdog"));
    this.#late = new LateDevices(world.clock, log);
    this.#firmware = firmware;
    this.#hub = hub;
    this.#updateStallMs = config.update.stallMs;
  }

  /**
   * Begins the trial of the running firmware, if it is on one, and arms the watchdogs.
   * @param agent what the agent runs besides; a reboot ends it together with what is here
   */
  async start(agent: RunningAgent & { readonly updater: Updater }): Promise<void> {
    this.rebooter.start({
      updater: agent.updater,
      endChildren: async () => {
        await Promise.all([agent.endChildren(), this.#stopCommands()]);
      },
    });
    await this.validation.start();
    await this.watchdogs.start(() => this.#health(agent.updater));
    if (this.watchdogs.armed) this.#check.start();
    this.#joinedKnown = this.#firmware.running !== undefined;
    if (!this.#joinedKnown || !this.watchdogs.complete) this.#late.start(async () => this.#lookAgain());
  }

  /** @returns whether nothing is missing any more */
  async #lookAgain(): Promise<boolean> {
    await this.watchdogs.arm();
    if (this.watchdogs.armed) this.#check.start();
    if (this.#joinedKnown) return this.watchdogs.complete;
    await this.validation.refresh();
    this.#joinedKnown = this.#firmware.running !== undefined;
    if (this.#joinedKnown) this.#hub.rejoin();
    return this.#joinedKnown && this.watchdogs.complete;
  }

  /** Ends all of it; the watchdogs when `rest`, the agent's other parts, has ended too. */
  async stop(rest: Promise<unknown>): Promise<void> {
    const { rebooting } = this.rebooter;
    await Promise.all([rest, this.rebooter.stop(), this.#stopCommands()]);
    await this.watchdogs.stop(rebooting);
  }

  async #stopCommands(): Promise<void> {
    await Promise.all([
      this.#late.stop(),
      this.validation.stop(),
      this.connectivity.stop(),
      this.#check.stop(),
    ]);
  }

  #health(updater: Updater): AgentHealth {
    const { state, stillForMs } = updater.status;
    // In all other states the update may wait for the network, which no reset of the board brings back.
    const local = state === "clearing" || state === "finishing";
    return {
      updateStillForMs: local ? stillForMs : undefined,
      updateStallMs: this.#updateStallMs,
      trialExpiredForMs: this.validation.expiredForMs,
      checkFailures: this.#check.failures,
      rebootFailed: this.rebooter.failed,
    };
  }
}
