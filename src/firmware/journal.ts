import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { writeFileAtomic } from "../platform/atomic-file.ts";
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

const Entries = v.object({ format: v.literal(1), installed: v.nullable(Installed) });
type Entries = v.InferOutput<typeof Entries>;

/** What must outlive a restart of the agent or the board. */
export interface Journal {
  readonly installed: InstalledFirmware | null;
  /** Keeps `changes`; a folder that can't be written is reported, and the agent works on. */
  update(changes: Partial<Omit<Entries, "format">>): Promise<void>;
}

const EMPTY: Entries = { format: 1, installed: null };

/** Reads the journal in `stateDir`; a damaged or missing one is an empty one. */
export async function openJournal(stateDir: string, log: Log): Promise<Journal> {
  const path = join(stateDir, "journal.json");
  let entries = await read(path, log);
  return {
    get installed() {
      return entries.installed;
    },
    async update(changes) {
      entries = { ...entries, ...changes };
      try {
        await writeFileAtomic(path, `${JSON.stringify(entries)}\n`);
      } catch (error) {
        log.warn(`the journal can't be written, so it won't outlive a reboot: ${messageOf(error)}`, { path });
      }
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
