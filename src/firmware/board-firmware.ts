/**
 * The firmware of this boot, and all that is done to the slots. The variables can't tell a board that fell
 * back from one whose update waits for its reboot: both name the slot that does not run. So what was
 * installed, and in which boot, is kept in the journal.
 */
import { stat } from "node:fs/promises";
import { readBootId } from "../board/boot-id.ts";
import type { Config } from "../config/schema.ts";
import type { Clock } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { listTasks, runOpsTask } from "./fwup.ts";
import type { InstalledFirmware, Journal } from "./journal.ts";
import { readRunningFirmware } from "./read-slots.ts";
import { invalidation, reversion, validation } from "./slot-changes.ts";
import { targetSlot, type RunningFirmware } from "./slots.ts";
import {
  readEnvironment,
  writeVariables,
  type VariableChanges,
  type Variables,
} from "./uboot-environment.ts";

export interface BoardFirmwareOptions {
  readonly config: Pick<Config["firmware"], "devpath" | "fwup" | "metadata" | "ubootEnvConfig" | "opsFile">;
  readonly journal: Journal;
  /** The root folder, `/` on a board. */
  readonly root: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** The value of `nerves_fw_devpath` on most boards. */
const DEFAULT_DEVPATH = "/dev/mmcblk0";

/** Reads which firmware runs. A board whose environment can't be read still connects, with a `problem`. */
export async function openBoardFirmware(options: BoardFirmwareOptions): Promise<BoardFirmware> {
  await noteUnnoticed(options);
  const firmware = new BoardFirmware(options, await readBootId(options.root));
  await firmware.read();
  return firmware;
}

export class BoardFirmware {
  readonly #options: BoardFirmwareOptions;
  /** "" without procfs. */
  readonly #bootId: string;
  /** Another boot shows by another id. */
  #bootIdTells: boolean;
  #running: RunningFirmware | undefined;
  #problem: Failure | undefined;
  #fellBack = false;
  #fellBackFrom: string | undefined;
  #devpath: string;

  constructor(options: BoardFirmwareOptions, bootId: string) {
    this.#options = options;
    this.#bootId = bootId;
    this.#bootIdTells = bootId !== "";
    this.#devpath = options.config.devpath || DEFAULT_DEVPATH;
  }

  /** Undefined when `problem` says why it can't be known. */
  get running(): RunningFirmware | undefined {
    return this.#running;
  }

  get problem(): Failure | undefined {
    return this.#problem;
  }

  /** The board runs older firmware than was installed: the boot loader gave up on the new one. */
  get fellBack(): boolean {
    return this.#fellBack;
  }

  /** The uuid of the firmware it fell back from, when that is known. */
  get fellBackFrom(): string | undefined {
    return this.#fellBackFrom;
  }

  /** The device that fwup writes to. */
  get devpath(): string {
    return this.#devpath;
  }

  /** The hub's update was installed in this boot, and only the reboot is missing. */
  get rebootOwed(): boolean {
    const entry = this.#options.journal.installed;
    return entry !== null && entry.origin === "hub" && this.#awaitsReboot(entry);
  }

  /** Reads which firmware runs, and compares it with what was installed last. */
  async read(): Promise<void> {
    const { config, journal, log, root } = this.#options;
    const { installed } = journal;
    try {
      this.#running = await readRunningFirmware(config, root);
      this.#devpath = config.devpath || this.#running.devpath || DEFAULT_DEVPATH;
      // No kernel boots from an image file, so this kernel's id says nothing about a board with that disk.
      // A device that can't be used is reported by the code that writes to it.
      this.#bootIdTells &&= !(await isFile(this.#devpath).catch(() => false));
      if (installed !== null && this.#awaitsReboot(installed)) {
        this.#running = await readRunningFirmware(config, root, installed.fromSlot);
      }
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.#problem = error;
    }
    const running = this.#running;
    if (running === undefined) return;
    for (const warning of running.warnings) log.warn(warning);
    const arrived = installed !== null && !this.#awaitsReboot(installed);
    this.#fellBack = running.autoRevertDetected || (arrived && running.uuid !== installed.uuid);
    if (this.#fellBack) this.#fellBackFrom = installed?.uuid ?? running.other?.uuid;
    // The installed firmware runs and is validated, so the record is no longer needed.
    if (arrived && running.validated && !this.#fellBack) await journal.update({ installed: null });
  }

  /** Marks the running slot good. @throws Failure */
  async validate(): Promise<void> {
    const firmware = this.#known();
    await this.#correct();
    await this.#operate("validate", (variables) => validation(variables, firmware));
    await this.#options.journal.update({ installed: null });
  }

  /** Makes the other slot the one to boot. @throws Failure */
  async revert(): Promise<void> {
    const firmware = this.#known();
    await this.#correct();
    await this.#operate("revert", (variables) => reversion(variables, firmware));
    await this.#options.journal.update({ installed: null });
  }

  /** Makes the other slot invalid, flushed, before an update writes to it. @throws Failure */
  async clearTarget(signal?: AbortSignal): Promise<void> {
    const firmware = this.#known();
    const target = targetSlot(firmware);
    await this.#correct();
    if (target === "") return;
    await this.#operate("invalidate", (variables) => invalidation(variables, firmware, target), signal);
  }

  /**
   * Makes the running slot the active one again, and the other one invalid, when fwup has switched slots.
   * @param finished whether fwup reported success; else it was killed, and the environment shows how far it was
   * @throws Failure
   */
  async keepRunning(finished: boolean): Promise<void> {
    const { slot } = this.#known();
    if (slot === "") return;
    const { ubootEnvConfig } = this.#options.config;
    if (!finished) {
      if (!this.#hasEnvironment) return;
      const variables = await readEnvironment(ubootEnvConfig);
      if (variables.get("nerves_fw_active") === slot) return;
    }
    const stay = new Map([
      ["nerves_fw_active", slot],
      ["nerves_fw_validated", "1"],
    ]);
    await this.#operate("revert", () => stay);
    // Some images' revert leads away from the slot that runs, others' from the active one.
    if (this.#hasEnvironment) await writeVariables(ubootEnvConfig, stay);
    await this.clearTarget();
  }

  /** Notes that firmware is about to be written, in case the agent does not live to see its end. */
  async noteWriting(uuid: string, origin: "hub" | "local"): Promise<void> {
    await this.#options.journal.update({ writing: this.#entryOf(uuid, origin) });
  }

  /** Notes that firmware was installed, so that the next boot knows whether it runs. */
  async noteInstalled(uuid: string, origin: "hub" | "local"): Promise<void> {
    await this.#options.journal.update({ installed: this.#entryOf(uuid, origin), writing: null });
  }

  /** Notes that the board is being rebooted. */
  async noteReboot(): Promise<void> {
    const { journal } = this.#options;
    const entry = journal.installed;
    if (entry !== null) await journal.update({ installed: { ...entry, rebootAsked: true } });
  }

  get #hasEnvironment(): boolean {
    return this.#options.config.metadata === "uboot-env";
  }

  /** Only another boot ends the wait. Where no id shows that, a reboot that was asked for counts as done. */
  #awaitsReboot(entry: InstalledFirmware): boolean {
    return entry.bootId === this.#bootId && (this.#bootIdTells || !entry.rebootAsked);
  }

  #known(): RunningFirmware {
    if (this.#running !== undefined) return this.#running;
    throw this.#problem ?? new Failure("failed", "which firmware runs is not known");
  }

  /**
   * Makes a change by the ops file's task where the image has one, since only a task can rewrite partitions,
   * else by the variables. In either case the variables decide whether the change is allowed.
   */
  async #operate(
    task: string,
    changes: (variables: Variables) => VariableChanges,
    signal?: AbortSignal,
  ): Promise<void> {
    const { config, clock, log } = this.#options;
    const planned = this.#hasEnvironment ? changes(await readEnvironment(config.ubootEnvConfig)) : undefined;
    if (await hasTask(this.#options, task)) {
      await runOpsTask({
        fwup: config.fwup,
        opsFile: config.opsFile,
        devpath: this.#devpath,
        task,
        clock,
        ...(signal !== undefined && { signal }),
        onWarning: (text) => log.info(`fwup: ${text}`),
      });
    } else if (planned !== undefined) {
      await writeVariables(config.ubootEnvConfig, planned);
    } else {
      throw new Failure(
        "config",
        `${task} needs a task of that name in firmware.ops_file: firmware.metadata is a file, not the environment`,
      );
    }
  }

  async #correct(): Promise<void> {
    const { correction } = this.#known();
    if (correction.size === 0) return;
    const { config, log } = this.#options;
    log.warn("the environment named another slot than the one that runs; corrected");
    await writeVariables(config.ubootEnvConfig, correction);
  }

  #entryOf(uuid: string, origin: "hub" | "local"): InstalledFirmware {
    return {
      ...{ uuid, origin, bootId: this.#bootId },
      fromSlot: this.#running?.slot ?? "",
      rebootAsked: origin === "local", // a local install is rebooted by the user, which the agent can't see
      atMs: this.#options.clock.now(),
    };
  }
}

/**
 * Notes an installation that fwup had finished when the agent or the power went away. Without it an agent
 * started in the same boot would take the active slot for the one that runs, or for one fallen back from.
 */
async function noteUnnoticed({ config, journal, log }: BoardFirmwareOptions): Promise<void> {
  const { writing } = journal;
  if (writing === null || config.metadata !== "uboot-env") return;
  try {
    const variables = await readEnvironment(config.ubootEnvConfig);
    const active = variables.get("nerves_fw_active");
    const finished =
      active !== writing.fromSlot && variables.get(`${active ?? ""}.nerves_fw_uuid`) === writing.uuid;
    if (!finished) return;
    log.info("the update had been installed when the agent ended", { uuid: writing.uuid });
    await journal.update({ writing: null, installed: writing });
  } catch (error) {
    if (!(error instanceof Failure)) throw error; // what is wrong with the environment is reported by `read`
  }
}

/** False also when nothing is there. @throws the file system's error */
async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (systemCode(error) === "ENOENT") return false;
    throw error;
  }
}

async function hasTask({ config, clock, log }: BoardFirmwareOptions, task: string): Promise<boolean> {
  try {
    if (!(await isFile(config.opsFile))) return false;
  } catch (error) {
    log.warn(`firmware.ops_file can't be used: ${messageOf(error)}`);
    return false;
  }
  const tasks = await listTasks({ fwup: config.fwup, clock, file: config.opsFile });
  return tasks.some((name) => name === task || name.startsWith(`${task}.`));
}
