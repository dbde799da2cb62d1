import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { writeFileAtomic } from "../platform/files.ts";
import type { Clock } from "../platform/clock.ts";
import { messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

const Reboot = v.object({
  /** Why the agent rebooted the board. */
  reason: v.string(),
  /** The method that was tried last. */
  method: v.nullable(v.string()),
  /** ISO 8601 */
  at: v.string(),
});
export type Reboot = v.InferOutput<typeof Reboot>;

const Entries = v.object({
  /** The boot these are of. */
  bootId: v.string(),
  /** What led to it; null when it was not the agent. */
  cause: v.nullable(Reboot),
  /** What is to end it. */
  asked: v.nullable(Reboot),
});
type Entries = v.InferOutput<typeof Entries>;

/** Why the board was booted, as far as it was the agent's doing. */
export interface BootRecord {
  /** The reboot by the agent that led to this boot; null when it was something else, or is not known. */
  readonly cause: Reboot | null;
  /** Keeps why this boot ends, for the next one. */
  note(reason: string, method: string | null): Promise<void>;
}

export interface BootRecordOptions {
  readonly stateDir: string;
  /** The root folder, `/` on a board. */
  readonly root: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Opens the record in the state folder, and reports in the log how this boot came about. */
export async function openBootRecord(options: BootRecordOptions): Promise<BootRecord> {
  const { clock, log } = options;
  const path = join(options.stateDir, "reboot.json");
  const bootId = await readBootId(options.root);
  const before = await read(path, log);
  let entries: Entries;

  const keep = async (next: Entries): Promise<void> => {
    entries = next;
    try {
      await writeFileAtomic(path, `${JSON.stringify(next)}\n`);
    } catch (error) {
      log.warn(`why the board is rebooted can't be kept: ${messageOf(error)}`, { path });
    }
  };

  if (before?.bootId === bootId) {
    entries = before;
  } else {
    const cause = before?.asked ?? null;
    if (cause !== null) log.warn("the board was rebooted by the agent", { ...cause });
    else if (before !== undefined)
      log.warn("the board was started anew, not by the agent: a power cut, a watchdog, or somebody's reboot");
    await keep((entries = { bootId, cause, asked: null }));
  }
  return {
    get cause() {
      return entries.cause;
    },
    async note(reason, method) {
      await keep({ ...entries, asked: { reason, method, at: new Date(clock.now()).toISOString() } });
    },
  };
}

async function readBootId(root: string): Promise<string> {
  try {
    return (await readFile(join(root, "proc/sys/kernel/random/boot_id"), "utf8")).trim();
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return ""; // without procfs all boots look the same
  }
}

async function read(path: string, log: Log): Promise<Entries | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) !== "ENOENT")
      log.warn(`the record of the last reboot can't be read: ${messageOf(error)}`);
    return undefined;
  }
  try {
    return v.parse(Entries, JSON.parse(text));
  } catch {
    log.warn("the record of the last reboot is damaged", { path });
    return undefined;
  }
}
