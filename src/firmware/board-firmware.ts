import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { listTasks, runOpsTask } from "./fwup.ts";
import type { InstalledFirmware, Journal } from "./journal.ts";
import { loadFirmware } from "./running-firmware.ts";
import { invalidation, reversion, validation } from "./slot-operations.ts";
import { targetSlot, type RunningFirmware } from "./slots.ts";
import {
  readEnvironment,
  writeVariables,
  type VariableChanges,
  type Variables,
} from "./uboot-environment.ts";

/** `[firmware]`, as far as it says where slots are kept and how they are changed. */
export interface SlotsConfig {
  readonly devpath: string;
  readonly fwup: string;
  /** "uboot-env" or "file:PATH" */
  readonly metadata: string;
  readonly ubootEnvConfig: string;
  readonly opsFile: string;
}

export interface BoardFirmwareOptions {
  readonly config: SlotsConfig;
  readonly journal: Journal;
  /** The root folder, `/` on a board. */
  readonly root: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** The firmware of this boot, and what can be done to the slots. */
export interface BoardFirmware {
  /** Undefined when `problem` says why it can't be known. */
  readonly running: RunningFirmware | undefined;
  readonly problem: Failure | undefined;
  /** The board runs older firmware than was installed: the boot loader gave up on the new one. */
  readonly fellBack: boolean;
  /** The uuid of the firmware it fell back from, when that is known. */
  readonly fellBackFrom: string | undefined;
  /** The device that fwup writes to. */
  readonly devpath: string;
  /** The hub's update was installed in this boot, and only the reboot is missing. */
  readonly rebootOwed: boolean;
  /** Marks the running slot good. @throws Failure */
  validate(): Promise<void>;
  /** Makes the other slot the one to boot. @throws Failure */
  revert(): Promise<void>;
  /** Makes the other slot invalid, flushed, before an update writes to it. @throws Failure */
  clearTarget(signal: AbortSignal): Promise<void>;
  /**
   * Makes the running slot the active one again, and the other one invalid, when fwup has switched slots.
   * @param finished it said so; else it was killed, and the environment tells
   * @throws Failure
   */
  keepRunning(finished: boolean): Promise<void>;
  /** Notes that firmware is about to be written, for an agent that never hears of its end. */
  noteWriting(uuid: string, origin: "hub" | "local"): Promise<void>;
  /** Notes that firmware was installed, for the boot after this one to know what became of it. */
  noteInstalled(uuid: string, origin: "hub" | "local"): Promise<void>;
  /** Notes that the board is being rebooted. */
  noteReboot(): Promise<void>;
}

/** What `nerves_fw_devpath` is on most boards. */
const DEFAULT_DEVPATH = "/dev/mmcblk0";

/** Reads which firmware runs. A board whose environment can't be read is still one to talk to. */
export async function openBoardFirmware(options: BoardFirmwareOptions): Promise<BoardFirmware> {
  const { config, journal, root, clock, log } = options;
  const bootId = await readText(join(root, "proc/sys/kernel/random/boot_id"));
  const hasEnvironment = config.metadata === "uboot-env";
  await noteUnnoticed(options);
  const installed = journal.installed;
  const load = async (installedFrom?: InstalledFirmware["fromSlot"]): Promise<RunningFirmware> =>
    loadFirmware(config, { kernelCommandLinePath: join(root, "proc/cmdline"), installedFrom });

  let running: RunningFirmware | undefined;
  let problem: Failure | undefined;
  let devpath = config.devpath || DEFAULT_DEVPATH;
  let bootIdTells = bootId !== "";
  /** Only another boot ends the wait; where no id tells of it, the reboot that was asked for is taken for done. */
  const awaitsReboot = (entry: InstalledFirmware): boolean =>
    entry.bootId === bootId && (bootIdTells || !entry.rebootAsked);
  try {
    running = await load();
    devpath = config.devpath || running.devpath || DEFAULT_DEVPATH;
    // No kernel boots from an image file: this one's id says nothing about the board that it is the disk of.
    bootIdTells &&= !(await isFile(devpath).catch(() => false)); // whoever writes there says what is wrong with it
    if (installed !== null && awaitsReboot(installed)) running = await load(installed.fromSlot);
    for (const warning of running.warnings) log.warn(warning);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    problem = error;
  }
  const fellBack =
    running !== undefined &&
    (running.autoRevertDetected ||
      (installed !== null && !awaitsReboot(installed) && running.uuid !== installed.uuid));

  // It has arrived and nothing can fall back from it any more: what runs later is no matter of it.
  if (running?.validated === true && installed !== null && !awaitsReboot(installed) && !fellBack) {
    await journal.update({ installed: null });
  }

  const known = (): RunningFirmware => {
    if (running === undefined) throw problem ?? new Failure("failed", "which firmware runs is not known");
    return running;
  };

  /**
   * Makes a change by the ops file's task where the image has one, since only a task can rewrite
   * partitions, else by the variables. Whether it may be made the variables say in either case.
   */
  const operate = async (
    task: string,
    changes: (variables: Variables) => VariableChanges,
    signal?: AbortSignal,
  ): Promise<void> => {
    const planned = hasEnvironment ? changes(await readEnvironment(config.ubootEnvConfig)) : undefined;
    if (await hasTask(options, task)) {
      await runOpsTask({
        fwup: config.fwup,
        opsFile: config.opsFile,
        devpath,
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
  };

  const correct = async (): Promise<void> => {
    const { correction } = known();
    if (correction.size === 0) return;
    log.warn("the environment named another slot than the one that runs; corrected");
    await writeVariables(config.ubootEnvConfig, correction);
  };

  const clear = async (signal?: AbortSignal): Promise<void> => {
    const target = targetSlot(known());
    await correct();
    if (target === "") return;
    await operate("invalidate", (variables) => invalidation(variables, known(), target), signal);
  };

  const entryOf = (uuid: string, origin: "hub" | "local"): InstalledFirmware => ({
    ...{ uuid, origin, bootId },
    fromSlot: running?.slot ?? "",
    rebootAsked: origin === "local", // who installs by hand reboots by hand, unseen
    atMs: clock.now(),
  });

  return {
    running,
    problem,
    fellBack,
    fellBackFrom: fellBack ? (installed?.uuid ?? running?.other?.uuid) : undefined,
    devpath,
    get rebootOwed() {
      const entry = journal.installed;
      return entry !== null && entry.origin === "hub" && awaitsReboot(entry);
    },
    async validate() {
      const firmware = known();
      await correct();
      await operate("validate", (variables) => validation(variables, firmware));
      await journal.update({ installed: null });
    },
    async revert() {
      const firmware = known();
      await correct();
      await operate("revert", (variables) => reversion(variables, firmware));
      await journal.update({ installed: null });
    },
    clearTarget: clear,
    async keepRunning(finished) {
      const { slot } = known();
      if (slot === "") return;
      if (!finished) {
        if (!hasEnvironment) return;
        const variables = await readEnvironment(config.ubootEnvConfig);
        if (variables.get("nerves_fw_active") === slot) return;
      }
      const stay = new Map([
        ["nerves_fw_active", slot],
        ["nerves_fw_validated", "1"],
      ]);
      await operate("revert", () => stay);
      // Some images' revert leads away from the slot that runs, others' from the active one.
      if (hasEnvironment) await writeVariables(config.ubootEnvConfig, stay);
      await clear();
    },
    async noteWriting(uuid, origin) {
      await journal.update({ writing: entryOf(uuid, origin) });
    },
    async noteInstalled(uuid, origin) {
      await journal.update({ installed: entryOf(uuid, origin), writing: null });
    },
    async noteReboot() {
      const entry = journal.installed;
      if (entry !== null) await journal.update({ installed: { ...entry, rebootAsked: true } });
    },
  };
}

/**
 * Notes an installation that fwup had finished when the agent or the power went away: without it an agent
 * started in the same boot takes the active slot for the one that runs, or for one fallen back from.
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
    if (!(error instanceof Failure)) throw error; // whoever needs the environment says what is wrong with it
  }
}

/** False also when there is nothing. @throws Error of the file system */
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

/** A file of procfs; empty where there is none. */
async function readText(path: string): Promise<string> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return "";
  }
}
