/**
 * The crashes of agents on this board that the hub has not heard of, and which of the kernel's it has. A crash is
 * written down by the process that dies of it, for the next agent to report. Rule: an agent that crashes again and again
 * must not wear out the flash, so the same crash is written once in an hour, and only the last few are kept.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { describeError, Frame } from "../platform/defects.ts";
import { messageOf } from "../platform/failure.ts";
import { writeFileAtomicSync } from "../platform/files.ts";
import type { Log } from "../platform/log.ts";
import { StateFile } from "../platform/state-file.ts";
import { parseJson, shortened } from "../platform/text.ts";

const MAX_CRASHES = 5;
const MAX_KERNEL_IDS = 16;
const MAX_FRAMES = 10;
const MAX_REASON = 500;
const MAX_MESSAGE = 2000;
/** The same crash is not written again within this. */
const REPEAT_MS = 3_600_000;

const Crash = v.object({
  reason: v.string(),
  message: v.string(),
  frames: v.array(Frame),
  /** Wall clock. */
  atMs: v.number(),
  uptimeMs: v.number(),
  /** Of the firmware that ran. */
  firmwareUuid: v.optional(v.string()),
  agentVersion: v.string(),
  /** The hub has it. */
  reported: v.boolean(),
});
export type Crash = v.InferOutput<typeof Crash>;

const Entries = v.object({
  crashes: v.array(Crash),
  /** Of the kernel's own records that the hub has. */
  kernel: v.optional(v.array(v.string()), []),
});
type Entries = v.InferOutput<typeof Entries>;

/** The agent that crashed. */
export interface Crashed {
  readonly stateDir: string;
  readonly nowMs: number;
  readonly uptimeMs: number;
  readonly firmwareUuid: string | undefined;
  readonly agentVersion: string;
}

/**
 * Writes a crash down at once: the process is about to end.
 * @throws the file system's error
 */
export function recordCrash(error: unknown, crashed: Crashed): void {
  const { stateDir, ...about } = crashed;
  const path = pathIn(stateDir);
  const { reason, message, frames } = describeError(error);
  const crash: Crash = {
    reason: shortened(reason, MAX_REASON),
    message: shortened(message, MAX_MESSAGE),
    frames: frames.slice(0, MAX_FRAMES),
    atMs: about.nowMs,
    uptimeMs: about.uptimeMs,
    ...(about.firmwareUuid !== undefined && { firmwareUuid: about.firmwareUuid }),
    agentVersion: about.agentVersion,
    reported: false,
  };
  const { crashes, kernel } = readSync(path);
  const isSame = (other: Crash): boolean =>
    other.reason === crash.reason && Math.abs(other.atMs - crash.atMs) < REPEAT_MS;
  if (crashes.some(isSame)) return;
  writeFileAtomicSync(
    path,
    `${JSON.stringify({ crashes: [...crashes, crash].slice(-MAX_CRASHES), kernel })}\n`,
  );
}

function readSync(path: string): Entries {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return { crashes: [], kernel: [] }; // there is none, or it can't be read: a new one shows what is wrong
  }
  const { success, output } = v.safeParse(Entries, parseJson(text));
  return success ? output : { crashes: [], kernel: [] };
}

function pathIn(stateDir: string): string {
  return join(stateDir, "crashes.json");
}

/** Reads what earlier agents have written. */
export async function openCrashRecord(stateDir: string, log: Log): Promise<CrashRecord> {
  const file = new StateFile(pathIn(stateDir), Entries, "the record of crashes", log);
  return new CrashRecord(file, (await file.read()) ?? { crashes: [], kernel: [] }, log);
}

export class CrashRecord {
  readonly #file: StateFile<typeof Entries>;
  readonly #log: Log;
  #entries: Entries;
  #written: Entries;
  #saving: Promise<void> = Promise.resolve();

  constructor(file: StateFile<typeof Entries>, entries: Entries, log: Log) {
    this.#file = file;
    this.#entries = entries;
    this.#written = entries;
    this.#log = log;
  }

  /** Resolves when all is on the disk that can be. */
  async settled(): Promise<void> {
    await this.#saving;
  }

  /** Those that the hub has not got. */
  get unreported(): readonly Crash[] {
    return this.#entries.crashes.filter(({ reported }) => !reported);
  }

  /** Whether the hub has this record of the kernel's. */
  knows(kernelId: string): boolean {
    return this.#entries.kernel.includes(kernelId);
  }

  /** The hub has got this crash. */
  async crashReported(crash: Crash): Promise<void> {
    const crashes = this.#entries.crashes.map((known) =>
      known === crash ? { ...known, reported: true } : known,
    );
    await this.#save({ ...this.#entries, crashes });
  }

  /** The hub has got this record of the kernel's. */
  async kernelReported(id: string): Promise<void> {
    await this.#save({ ...this.#entries, kernel: [...this.#entries.kernel, id].slice(-MAX_KERNEL_IDS) });
  }

  /** One after the other, and those that come meanwhile at once. */
  async #save(entries: Entries): Promise<void> {
    this.#entries = entries;
    this.#saving = this.#saving.then(async () => this.#write());
    await this.#saving;
  }

  /** Logs its own failures: what can't be kept is reported again after the next start. */
  async #write(): Promise<void> {
    if (this.#written === this.#entries) return;
    this.#written = this.#entries;
    try {
      await this.#file.write(this.#entries);
    } catch (error) {
      this.#log.warn(`the record of crashes can't be kept: ${messageOf(error)}`, { path: this.#file.path });
    }
  }
}
