/**
 * The firmware of this boot, and all that is done to the slots. Rule: what was read once may be wrong by the next
 * step, because people and scripts install firmware, mark it good and switch slots too; so everything is read
 * again before a step that writes. An agent that did not once erased the description of the running slot.
 */
import { readBootId } from "../board/boot-id.ts";
import type { Config } from "../config/schema.ts";
import type { Clock } from "../platform/clock.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { DeviceClaim, otherWriter } from "./device-claim.ts";
import type { InstalledFirmware, Journal } from "./journal.ts";
import { readSlotSources, runningFirmware } from "./read-slots.ts";
import { invalidation, reversion, validation } from "./slot-changes.ts";
import { isFile, SlotOperations } from "./slot-operations.ts";
import { otherSlot, type RunningFirmware, targetSlot } from "./slots.ts";
import { noteUnnoticed, ThisBoot } from "./this-boot.ts";
import { readEnvironment, writeVariables } from "./uboot-environment.ts";

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

/** What a board fell back from. */
export interface FallBack {
  readonly uuid: string;
  /** When it was installed; null when the journal does not know. */
  readonly installedAtMs: number | null;
}

/** Reads which firmware runs. A board whose environment can't be read still connects, with a `problem`. */
export async function openBoardFirmware(options: BoardFirmwareOptions): Promise<BoardFirmware> {
  const firmware = new BoardFirmware(options, new ThisBoot(await readBootId(options.root), options.journal));
  await firmware.refresh();
  return firmware;
}

/**
 * Ends an fwup that an earlier hublink left at work. To be called before the slots are read: what it has not written
 * yet would make the reading wrong.
 */
export async function endLeftFwup(
  options: Pick<BoardFirmwareOptions, "config" | "root" | "clock" | "log">,
): Promise<void> {
  const { config, root, log } = options;
  const devpath = await configuredDevpath(config, root);
  try {
    await new DeviceClaim(options).endLeft(devpath);
  } catch (error) {
    log.error(messageOf(error)); // updates are put off until it has ended
  }
}

/** The device, where nothing else has to be known. */
async function configuredDevpath(config: BoardFirmwareOptions["config"], root: string): Promise<string> {
  if (config.devpath !== "") return config.devpath;
  try {
    return (await readSlotSources(config, root)).variables.get("nerves_fw_devpath") || DEFAULT_DEVPATH;
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return DEFAULT_DEVPATH; // what is wrong with the environment is reported when it is read for good
  }
}

export class BoardFirmware {
  readonly #options: BoardFirmwareOptions;
  readonly #device: DeviceClaim;
  readonly #boot: ThisBoot;
  readonly #operations: SlotOperations;
  #running: RunningFirmware | undefined;
  #problem: Failure | undefined;
  #fellBack = false;
  #fellBackFrom: FallBack | undefined;
  #devpath: string;
  /** The last reading's warnings: each is logged when it comes up. */
  #warned: readonly string[] = [];

  constructor(options: BoardFirmwareOptions, boot: ThisBoot) {
    this.#options = options;
    this.#boot = boot;
    this.#device = new DeviceClaim(options);
    this.#operations = new SlotOperations(options, boot);
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

  /** The firmware it fell back from, when that is known. */
  get fellBackFrom(): FallBack | undefined {
    return this.#fellBackFrom;
  }

  /** The device that fwup writes to. */
  get devpath(): string {
    return this.#devpath;
  }

  /** The hub's update was installed in this boot, and only the reboot is missing. */
  get rebootOwed(): boolean {
    const entry = this.#options.journal.installed;
    return entry !== null && entry.origin === "hub" && this.#boot.awaitsReboot(entry);
  }

  /**
   * Reads which firmware runs, and compares it with what was installed last. What can't be read now is the
   * `problem`, until it can be.
   */
  async refresh(): Promise<void> {
    const { config, log, root } = this.#options;
    if (this.#running === undefined) await noteUnnoticed(this.#options);
    try {
      const sources = await readSlotSources(config, root);
      this.#devpath = config.devpath || sources.variables.get("nerves_fw_devpath") || DEFAULT_DEVPATH;
      // A device that can't be used is reported by the code that writes to it.
      if (await isFile(this.#devpath).catch(() => false)) this.#boot.diskIsImage();
      const atStart = this.#boot.slotsAtStart(sources.kernelCommandLine);
      this.#running = runningFirmware(config, sources, atStart);
      await this.#boot.note(this.#running, sources.kernelCommandLine);
      this.#problem = undefined;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.#problem = error;
      return;
    }
    const { warnings } = this.#running;
    for (const warning of warnings) if (!this.#warned.includes(warning)) log.warn(warning);
    this.#warned = warnings;
    await this.#compareWithInstalled(this.#running);
  }

  async #compareWithInstalled(running: RunningFirmware): Promise<void> {
    const { journal } = this.#options;
    const { installed } = journal;
    const arrived = installed !== null && !this.#boot.awaitsReboot(installed);
    this.#fellBack ||= running.autoRevertDetected || (arrived && running.uuid !== installed.uuid);
    const uuid = installed?.uuid ?? running.other?.uuid;
    if (this.#fellBack && uuid !== undefined) {
      this.#fellBackFrom ??= { uuid, installedAtMs: installed?.atMs ?? null };
    }
    // The installed firmware runs and is validated, so the record is no longer needed.
    if (arrived && running.validated && !this.#fellBack) await journal.update({ installed: null });
    // What was being written has been replaced since, or it would not run.
    if (journal.writing !== null && running.validated && running.slot !== journal.writing.fromSlot)
      await journal.update({ writing: null });
  }

  /** Marks the running slot good. @throws Failure */
  async validate(): Promise<void> {
    await this.#claimed(async () => {
      const firmware = await this.#current();
      await this.#operations.correct(firmware, this.#devpath);
      await this.#operations.change("validate", this.#devpath, (variables) =>
        validation(variables, firmware),
      );
      await this.#options.journal.update({ installed: null });
    });
  }

  /** Makes the other slot the one to boot. @throws Failure */
  async revert(): Promise<void> {
    await this.#claimed(async () => {
      await this.#refuseOtherWriter();
      const firmware = await this.#current();
      this.#refuseHalfWritten(firmware);
      await this.#operations.correct(firmware, this.#devpath);
      await this.#operations.change("revert", this.#devpath, (variables) => reversion(variables, firmware));
      await this.#options.journal.update({ installed: null });
      await this.refresh(); // the status shows which slot boots next
    });
  }

  /**
   * Takes the device for an update until `release` is called, once.
   * @throws Failure `device_busy` when somebody else writes to it
   */
  async claim(): Promise<{ readonly release: () => Promise<void> }> {
    await this.#device.hold(this.#devpath);
    const release = async (): Promise<void> => this.#device.release();
    try {
      await this.#refuseOtherWriter();
    } catch (error) {
      await release();
      throw error;
    }
    return { release };
  }

  /** Makes the other slot invalid, flushed, before an update that has the claim writes to it. @throws Failure */
  async clearTarget(signal?: AbortSignal): Promise<void> {
    const firmware = await this.#current();
    const target = targetSlot(firmware);
    await this.#operations.correct(firmware, this.#devpath);
    if (target === "") return;
    await this.#operations.change(
      "invalidate",
      this.#devpath,
      (variables) => invalidation(variables, firmware, target),
      signal,
    );
  }

  /**
   * Why an update that is being written can't be finished: somebody else writes to the device, or has switched slots
   * since `clearTarget`, or the slots can't be read any more. Undefined when the other slot is still the one to write.
   */
  async contention(): Promise<Failure | undefined> {
    await this.refresh();
    if (this.#problem !== undefined) return this.#problem;
    if (this.#running?.rebootPending !== true) return await otherWriter(this.#devpath);
    const text = "somebody else installed firmware into the slot while this update was written to it";
    return new Failure("slot_contended", text);
  }

  /**
   * Makes the running slot the active one again, and the other one invalid, when fwup has switched slots.
   * @param finished whether fwup reported success; else it was killed, and the environment shows how far it was
   * @throws Failure
   */
  async keepRunning(finished: boolean): Promise<void> {
    const slot = this.#running?.slot ?? "";
    if (slot === "") return;
    const { ubootEnvConfig } = this.#options.config;
    if (!finished) {
      if (!this.#operations.hasEnvironment) return;
      const variables = await readEnvironment(ubootEnvConfig);
      if (variables.get("nerves_fw_active") === slot) return;
    }
    const stay = new Map([
      ["nerves_fw_active", slot],
      ["nerves_fw_validated", "1"],
    ]);
    await this.#operations.change("revert", this.#devpath, () => stay);
    // Some images' revert leads away from the slot that runs, others' from the active one.
    if (this.#operations.hasEnvironment) await writeVariables(ubootEnvConfig, stay);
    await this.clearTarget();
  }

  /** Notes that firmware is about to be written, in case the agent does not live to see its end. */
  async noteWriting(uuid: string, origin: "hub" | "local"): Promise<void> {
    await this.#options.journal.update({ writing: this.#entryOf(uuid, origin) });
  }

  /** Notes that firmware was installed, so that the next boot knows whether it runs. */
  async noteInstalled(uuid: string, origin: "hub" | "local"): Promise<void> {
    await this.#options.journal.update({ installed: this.#entryOf(uuid, origin), writing: null });
    // A local install is rebooted by the user, which the agent can't see.
    if (origin === "local") await this.noteReboot();
  }

  /** Notes that the board is being rebooted. */
  async noteReboot(): Promise<void> {
    await this.#boot.noteReboot();
  }

  async #claimed(work: () => Promise<void>): Promise<void> {
    await this.#device.hold(this.#devpath);
    try {
      await work();
    } finally {
      await this.#device.release();
    }
  }

  /**
   * The slot's description may have come back: a card that loses power while it erases a block can restore what was in
   * it before. The journal still knows that the slot was being written.
   */
  #refuseHalfWritten({ slot }: RunningFirmware): void {
    const { writing } = this.#options.journal;
    if (writing === null || slot === "" || writing.fromSlot !== slot) return;
    const text = `slot ${otherSlot(slot)} holds an update that was not finished; install an update instead`;
    throw new Failure("unavailable", text);
  }

  async #refuseOtherWriter(): Promise<void> {
    const other = await otherWriter(this.#devpath);
    if (other !== undefined) throw other;
  }

  async #current(): Promise<RunningFirmware> {
    await this.refresh();
    if (this.#problem !== undefined) throw this.#problem;
    if (this.#running === undefined) throw new Failure("failed", "which firmware runs is not known");
    return this.#running;
  }

  #entryOf(uuid: string, origin: "hub" | "local"): InstalledFirmware {
    return {
      ...{ uuid, origin, bootId: this.#boot.id },
      fromSlot: this.#running?.slot ?? "",
      rebootAsked: origin === "local",
      atMs: this.#options.clock.now(),
    };
  }
}
