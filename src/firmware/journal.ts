import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { writeFileAtomic } from "../platform/files.ts";
import { messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

const Installed = v.object({
  /** The firmware that was installed and is waited for. */
  uuid: v.string(),
  /** The slot that ran then. */
  fromSlot: v.picklist(["a", "b", ""]),
  /** The boot in which it was installed. */
  bootId: v.string(),
  /** The reboot into it was tried: what runs afterwards was booted anew. */
  rebootAsked: v.boolean(),
  /** What the hub asked for the agent finishes by a reboot, also after a restart. */
  origin: v.picklist(["hub", "local"]),
  atMs: v.number(),
});
export type InstalledFirmware = v.InferOutput<typeof Installed>;

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
/** What became of the attempts to install one firmware. */
export type Attempts = v.InferOutput<typeof Attempts>;

const Entries = v.object({
  format: v.literal(1),
  installed: v.nullable(Installed),
  /** What is being written: if it turns out to be active though nobody noted its end, it is installed. */
  writing: v.optional(v.nullable(Installed), null),
  /** The latest last. */
  attempts: v.optional(v.array(Attempts), []),
  /** When the hub is to be asked for an update that was put off; wall-clock ms, and how far off it was. */
  askAgain: v.optional(v.nullable(v.object({ atMs: v.number(), delayMs: v.number() })), null),
  /** When the board was rebooted for want of its hub, of late; wall-clock ms. */
  connectivityRebootsMs: v.optional(v.pipe(v.array(v.number()), v.readonly()), []),
});
type Entries = v.InferOutput<typeof Entries>;

/** What must outlive a restart of the agent or the board. */
export interface Journal {
  readonly installed: InstalledFirmware | null;
  readonly writing: InstalledFirmware | null;
  readonly attempts: readonly Attempts[];
  readonly askAgain: Entries["askAgain"];
  readonly connectivityRebootsMs: readonly number[];
  /**
   * Keeps `changes`; a folder that can't be written is reported, and the agent works on.
   * @returns whether they will outlive a reboot
   */
  update(changes: Partial<Omit<Entries, "format">>): Promise<boolean>;
}

const EMPTY: Entries = {
  format: 1,
  installed: null,
  writing: null,
  attempts: [],
  askAgain: null,
  connectivityRebootsMs: [],
};

/** Reads the journal in `stateDir`; a damaged or missing one is an empty one. */
export async function openJournal(stateDir: string, log: Log): Promise<Journal> {
  const path = join(stateDir, "journal.json");
  let entries = await read(path, log);
  /** One at a time: they all write the same file. */
  let writing = Promise.resolve(true);
  const write = async (): Promise<boolean> => {
    try {
      await writeFileAtomic(path, `${JSON.stringify(entries)}\n`);
      return true;
    } catch (error) {
      log.warn(`the journal can't be written, so it won't outlive a reboot: ${messageOf(error)}`, { path });
      return false;
    }
  };
  return {
    get installed() {
      return entries.installed;
    },
    get writing() {
      return entries.writing;
    },
    get attempts() {
      return entries.attempts;
    },
    get askAgain() {
      return entries.askAgain;
    },
    get connectivityRebootsMs() {
      return entries.connectivityRebootsMs;
    },
    async update(changes) {
      entries = { ...entries, ...changes };
      return await (writing = writing.then(write));
    },
  };
}

async function read(path: string, log: Log): Promise<Entries> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) !== "ENOENT") log.warn(`the journal can't be read: ${messageOf(error)}`, { path });
    return EMPTY;
  }
  try {
    return v.parse(Entries, JSON.parse(text));
  } catch {
    log.warn("the journal is damaged; starting a new one", { path });
    return EMPTY;
  }
}
