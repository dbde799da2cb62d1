/**
 * The facts that must survive a restart of the agent or the board: which slot this boot started from, what was
 * installed, what is being written, how attempts ended, and when to ask again. The boot environment can't say
 * these: after a power cut only the journal knows whether the board fell back or has yet to reboot.
 */
import { join } from "node:path";
import * as v from "valibot";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { StateFile } from "../platform/state-file.ts";

const Installed = v.object({
  /** The firmware that was installed and has yet to run. */
  uuid: v.string(),
  /** The slot that ran then. */
  fromSlot: v.picklist(["a", "b", ""]),
  /** The boot in which it was installed. */
  bootId: v.string(),
  /** The reboot into it was tried, so what runs afterwards was booted since. */
  rebootAsked: v.boolean(),
  /** An update from the hub is finished by a reboot of the agent's, also after a restart. */
  origin: v.picklist(["hub", "local"]),
  atMs: v.number(),
});
export type InstalledFirmware = v.InferOutput<typeof Installed>;

/** The slots when this boot was first seen: later in it, the variables may name firmware that never booted. */
const Boot = v.object({
  /** The kernel's id of the boot. */
  id: v.string(),
  /** The kernel's command line; another one is another boot where the id can't tell. */
  commandLine: v.string(),
  /** The slot that the boot started from; "" where nothing says which. */
  slot: v.picklist(["a", "b", ""]),
  /** The slot that `nerves_fw_active` named then, and names since it was corrected. */
  active: v.nullable(v.picklist(["a", "b"])),
  /** The reboot that ends it was tried. */
  rebootAsked: v.boolean(),
});
export type BootEntry = v.InferOutput<typeof Boot>;

const Attempts = v.object({
  uuid: v.string(),
  /** How often it was begun. */
  times: v.number(),
  /** How often it failed, or the board fell back from it, through its own fault. */
  failures: v.number(),
  /** How often in a row the network or the board kept it from being installed. */
  hindrances: v.number(),
  /** How often in a row the agent or the board went away while it was being written to its slot. */
  brokenOff: v.optional(v.number(), 0),
  /** When it was last begun to be written. */
  writingAtMs: v.optional(v.number(), 0),
  /** How the last one ended; null while it is under way, and when the power or the agent went away. */
  ended: v.nullable(
    v.object({
      result: v.picklist(["installed", "failed", "fell-back"]),
      reason: v.string(),
      atMs: v.number(),
    }),
  ),
  /** `atMs` of the installation that the board fell back from last. */
  fellBackFromMs: v.nullable(v.number()),
});
/** How the attempts to install one firmware ended. */
export type Attempts = v.InferOutput<typeof Attempts>;

/** A result that the hub may not have read, in its words (hub/device-messages.ts). */
const Unreported = v.object({
  uuid: v.nullable(v.string()),
  status: v.variant("status", [
    v.object({ status: v.picklist(["ignored", "failed"]), reason: v.string() }),
    v.object({ status: v.literal("rescheduled"), delay_for: v.number(), reason: v.string() }),
  ]),
});
type Unreported = v.InferOutput<typeof Unreported>;

const Entries = v.object({
  format: v.literal(1),
  installed: v.nullable(Installed),
  /** The firmware that is being written. If it is active later although its end was not noted, it is installed. */
  writing: v.optional(v.nullable(Installed), null),
  /** Oldest first. */
  attempts: v.optional(v.array(Attempts), []),
  /** When to ask the hub for an update that was put off (wall-clock ms), and how far off that was. */
  askAgain: v.optional(v.nullable(v.object({ atMs: v.number(), delayMs: v.number() })), null),
  /** When the board was rebooted lately because the hub could not be reached; wall-clock ms. */
  connectivityRebootsMs: v.optional(v.array(v.number()), []),
  boot: v.optional(v.nullable(Boot), null),
  unreported: v.optional(v.array(Unreported), []),
});
type Entries = v.InferOutput<typeof Entries>;

const EMPTY: Entries = {
  format: 1,
  installed: null,
  writing: null,
  attempts: [],
  askAgain: null,
  connectivityRebootsMs: [],
  boot: null,
  unreported: [],
};

/** Reads the journal in `stateDir`; a damaged or missing one is an empty one. */
export async function openJournal(stateDir: string, log: Log): Promise<Journal> {
  const file = new StateFile(join(stateDir, "journal.json"), Entries, "the journal", log);
  return new Journal(file, (await file.read()) ?? EMPTY, log);
}

export class Journal {
  readonly #file: StateFile<typeof Entries>;
  readonly #log: Log;
  #entries: Entries;
  /** One write at a time: they all replace the same file. */
  #written = Promise.resolve(true);

  constructor(file: StateFile<typeof Entries>, entries: Entries, log: Log) {
    this.#file = file;
    this.#entries = entries;
    this.#log = log;
  }

  get boot(): BootEntry | null {
    return this.#entries.boot;
  }

  get installed(): InstalledFirmware | null {
    return this.#entries.installed;
  }

  get writing(): InstalledFirmware | null {
    return this.#entries.writing;
  }

  get attempts(): readonly Attempts[] {
    return this.#entries.attempts;
  }

  get askAgain(): Entries["askAgain"] {
    return this.#entries.askAgain;
  }

  get connectivityRebootsMs(): readonly number[] {
    return this.#entries.connectivityRebootsMs;
  }

  get unreported(): readonly Unreported[] {
    return this.#entries.unreported;
  }

  keepUnreported(unreported: readonly Unreported[]): void {
    void this.update({ unreported: [...unreported] }); // logs its own failures
  }

  /**
   * Keeps `changes`. A folder that can't be written is reported, and the agent works on.
   * @returns whether they will outlive a reboot
   */
  async update(changes: Partial<Omit<Entries, "format">>): Promise<boolean> {
    this.#entries = { ...this.#entries, ...changes };
    return await (this.#written = this.#written.then(async () => this.#write()));
  }

  /** Resolves when all that was to be kept is written, or could not be. */
  async settled(): Promise<void> {
    await this.#written;
  }

  async #write(): Promise<boolean> {
    try {
      await this.#file.write(this.#entries);
      return true;
    } catch (error) {
      const text = `the journal can't be written, so it won't outlive a reboot: ${messageOf(error)}`;
      this.#log.warn(text, { path: this.#file.path });
      return false;
    }
  }
}
