/**
 * This boot of the board: which slot it started from, and whether installed firmware waits for its end. Kept in
 * the journal by the kernel's boot id. An agent that was restarted once took firmware that somebody had
 * installed by hand for the one that ran, and marked it good before it had ever booted.
 */
import type { Config } from "../config/schema.ts";
import { Failure } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { BootEntry, InstalledFirmware, Journal } from "./journal.ts";
import type { RunningFirmware, SlotsAtBoot } from "./slots.ts";
import { readEnvironment } from "./uboot-environment.ts";

export class ThisBoot {
  readonly #journal: Journal;
  /** "" without procfs. */
  readonly #id: string;
  /** Another boot shows by another id. */
  #idTells: boolean;

  /** @param id the kernel's id of this boot; "" without procfs */
  constructor(id: string, journal: Journal) {
    this.#id = id;
    this.#idTells = id !== "";
    this.#journal = journal;
  }

  get id(): string {
    return this.#id;
  }

  /** The disk is an image file. No kernel boots from one, so this kernel's id says nothing about its board. */
  diskIsImage(): void {
    this.#idTells = false;
  }

  /** Only another boot ends the wait. Where no id shows that, a reboot that was asked for counts as done. */
  awaitsReboot(entry: InstalledFirmware): boolean {
    return entry.bootId === this.#id && (this.#idTells || !entry.rebootAsked);
  }

  /** How the slots stood when this boot was first seen; undefined when it has not been seen yet. */
  slotsAtStart(kernelCommandLine: string): SlotsAtBoot | undefined {
    const { boot, installed } = this.#journal;
    const waiting = installed !== null && this.awaitsReboot(installed);
    if (boot !== null && this.#isThis(boot, kernelCommandLine)) return { ...boot, installed: waiting };
    if (!waiting) return undefined;
    // An agent of before this entry noted the slot with the installation only.
    return { slot: installed.fromSlot, active: installed.fromSlot || null, installed: true };
  }

  /** Keeps how the slots stand, if this boot is seen for the first time. */
  async note({ slot, active }: RunningFirmware, commandLine: string): Promise<void> {
    const { boot } = this.#journal;
    if (boot !== null && this.#isThis(boot, commandLine)) return;
    const entry = { id: this.#id, commandLine, slot, active: active ?? null, rebootAsked: false };
    await this.#journal.update({ boot: entry });
  }

  /** The variables name the running slot again: another one that they name from now on was installed since. */
  async corrected(): Promise<void> {
    const { boot } = this.#journal;
    if (boot !== null) await this.#journal.update({ boot: { ...boot, active: boot.slot || null } });
  }

  /** Notes that the board is being rebooted. */
  async noteReboot(): Promise<void> {
    const { boot, installed } = this.#journal;
    await this.#journal.update({
      ...(boot !== null && { boot: { ...boot, rebootAsked: true } }),
      ...(installed !== null && { installed: { ...installed, rebootAsked: true } }),
    });
  }

  #isThis(boot: BootEntry, commandLine: string): boolean {
    return boot.id === this.#id && boot.commandLine === commandLine && (this.#idTells || !boot.rebootAsked);
  }
}

/**
 * Notes an installation that fwup had finished when the agent or the power went away. Without it an agent
 * started in the same boot would take the active slot for the one that runs, or for one fallen back from.
 */
export async function noteUnnoticed({
  config,
  journal,
  log,
}: {
  readonly config: Pick<Config["firmware"], "metadata" | "ubootEnvConfig">;
  readonly journal: Journal;
  readonly log: Log;
}): Promise<void> {
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
    if (!(error instanceof Failure)) throw error; // what is wrong with the environment is reported when the slots are read
  }
}
