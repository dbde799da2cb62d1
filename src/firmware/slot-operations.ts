/**
 * How the slots are changed: by the tasks of the image's ops file where it has them, else by the boot loader's
 * variables. Rule: the variables decide whether a change is allowed, and slot-changes.ts what it is.
 */
import { stat } from "node:fs/promises";
import type { Config } from "../config/schema.ts";
import type { Clock } from "../platform/clock.ts";
import { failedWith, Failure, messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { listTasks, runOpsTask } from "./fwup.ts";
import { otherSlot, type RunningFirmware } from "./slots.ts";
import type { ThisBoot } from "./this-boot.ts";
import {
  readEnvironment,
  writeVariables,
  type VariableChanges,
  type Variables,
} from "./uboot-environment.ts";

export interface SlotOperationsOptions {
  readonly config: Pick<Config["firmware"], "fwup" | "metadata" | "ubootEnvConfig" | "opsFile">;
  readonly clock: Clock;
  readonly log: Log;
}

export class SlotOperations {
  readonly #options: SlotOperationsOptions;
  readonly #boot: ThisBoot;

  constructor(options: SlotOperationsOptions, boot: ThisBoot) {
    this.#options = options;
    this.#boot = boot;
  }

  get hasEnvironment(): boolean {
    return this.#options.config.metadata === "uboot-env";
  }

  /**
   * Makes a change by the ops file's task where the image has one, since only a task can rewrite partitions,
   * else by the variables. In either case the variables decide whether the change is allowed.
   */
  async change(
    task: string,
    devpath: string,
    changes: (variables: Variables) => VariableChanges,
    signal?: AbortSignal,
  ): Promise<void> {
    const { config } = this.#options;
    const planned = this.hasEnvironment ? changes(await readEnvironment(config.ubootEnvConfig)) : undefined;
    if (await this.#hasTask(task)) {
      await this.#runTask(task, devpath, signal);
    } else if (planned !== undefined) {
      await writeVariables(config.ubootEnvConfig, planned);
    } else {
      throw new Failure(
        "config",
        `${task} needs a task of that name in firmware.ops_file: firmware.metadata is a file, not the environment`,
      );
    }
  }

  async #runTask(task: string, devpath: string, signal?: AbortSignal): Promise<void> {
    const { config, clock, log } = this.#options;
    await runOpsTask({
      ...{ fwup: config.fwup, opsFile: config.opsFile, devpath, task, clock },
      ...(signal !== undefined && { signal }),
      onWarning: (text) => log.info(`fwup: ${text}`),
    });
  }

  /** Makes the variables true. They name another slot than the one that runs after a fall-back. */
  async correct(running: RunningFirmware, devpath: string): Promise<void> {
    const { correction } = running;
    if (correction.size === 0) return;
    const { config, log } = this.#options;
    if (running.autoRevertDetected) await this.#leaveFailedSlot(running, devpath);
    log.warn("the environment named another slot than the one that runs; corrected");
    await writeVariables(config.ubootEnvConfig, correction);
    await this.#boot.corrected();
  }

  /**
   * Has the ops file's task turn the partition table back, where the table names the slot that the boot loader gave
   * up on: fwup, which looks there, would refuse every further update. With that slot's description gone, the task
   * can't lead back to it. The flags change last, so that a power cut in between leaves the board fallen back.
   */
  async #leaveFailedSlot({ slot, correction }: RunningFirmware, devpath: string): Promise<void> {
    if (slot === "" || !(await this.#hasTask("revert"))) return;
    const { config, log } = this.#options;
    const prefix = `${otherSlot(slot)}.`;
    await writeVariables(
      config.ubootEnvConfig,
      new Map([...correction].filter(([name]) => name.startsWith(prefix))),
    );
    try {
      await this.#runTask("revert", devpath);
    } catch (error) {
      if (!failedWith(error, "fwup_refused")) throw error;
      log.debug(`the partition table stays as it is: ${error.message}`);
    }
  }

  async #hasTask(task: string): Promise<boolean> {
    const { config, clock, log } = this.#options;
    try {
      if (!(await isFile(config.opsFile))) return false;
    } catch (error) {
      log.warn(`firmware.ops_file can't be used: ${messageOf(error)}`);
      return false;
    }
    const tasks = await listTasks({ fwup: config.fwup, clock, file: config.opsFile });
    return tasks.some((name) => name === task || name.startsWith(`${task}.`));
  }
}

/** False also when nothing is there. @throws the file system's error */
export async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}
