/**
 * Why the board was booted, as far as the agent knows: it writes down each reboot of its own before it makes it,
 * for the agent of the next boot to read. A boot without such an entry was a power cut, a watchdog, or somebody
 * else's reboot, which is worth a warning when boards in the field go down. And since when the firmware of this
 * boot has been on trial: an agent that dies again and again would otherwise never reach the end of the trial.
 */
import { join } from "node:path";
import * as v from "valibot";
import { readBootId, readUptimeMs } from "../board/boot-id.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { StateFile } from "../platform/state-file.ts";
import type { World } from "../platform/world.ts";

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
  /** The kernel's id of the boot that the other entries belong to. */
  bootId: v.string(),
  /** The agent's reboot that led to it; null when it was not the agent's. */
  cause: v.nullable(Reboot),
  /** The reboot that is to end it. */
  asked: v.nullable(Reboot),
  /** The board's uptime in ms when an agent first saw the firmware of this boot on trial; null when it is not. */
  trialSinceMs: v.optional(v.nullable(v.number()), null),
});
type Entries = v.InferOutput<typeof Entries>;

/** Opens the record in the state folder, and logs how this boot came about. */
export async function openBootRecord(stateDir: string, world: World, log: Log): Promise<BootRecord> {
  const file = new StateFile(join(stateDir, "reboot.json"), Entries, "the record of the last reboot", log);
  // Without procfs all boots have the same id.
  const bootId = await readBootId(world.root);
  const before = await file.read();
  if (before?.bootId === bootId) return new BootRecord(file, before, world, log);
  const cause = before?.asked ?? null;
  if (cause !== null) log.warn("the board was rebooted by the agent", { ...cause });
  else if (before !== undefined)
    log.warn("the board was started anew, not by the agent: a power cut, a watchdog, or somebody's reboot");
  const entries = { bootId, cause, asked: null, trialSinceMs: null };
  const record = new BootRecord(file, entries, world, log, before !== undefined);
  await record.save();
  return record;
}

export class BootRecord {
  /** This agent is the first one of this boot, and there was one in the boot before. */
  readonly isNewBoot: boolean;
  readonly #file: StateFile<typeof Entries>;
  readonly #world: World;
  readonly #log: Log;
  #entries: Entries;

  constructor(file: StateFile<typeof Entries>, entries: Entries, world: World, log: Log, isNewBoot = false) {
    this.isNewBoot = isNewBoot;
    this.#file = file;
    this.#entries = entries;
    this.#world = world;
    this.#log = log;
  }

  /** The agent's reboot that led to this boot; null when it was something else, or is not known. */
  get cause(): Reboot | null {
    return this.#entries.cause;
  }

  /** Notes why this boot ends, for the next one. */
  async note(reason: string, method: string | null): Promise<void> {
    const at = new Date(this.#world.clock.now()).toISOString();
    this.#entries = { ...this.#entries, asked: { reason, method, at } };
    await this.save();
  }

  /**
   * How long the firmware of this boot has been on trial, in ms, also before the agent was restarted. Begins the
   * trial at the first call. Always 0 without procfs, where boots can't be told apart.
   */
  async trialMs(): Promise<number> {
    const { bootId, trialSinceMs } = this.#entries;
    const uptimeMs = await readUptimeMs(this.#world.root);
    if (bootId === "" || uptimeMs === undefined) return 0;
    if (trialSinceMs !== null) return Math.max(0, uptimeMs - trialSinceMs);
    this.#entries = { ...this.#entries, trialSinceMs: uptimeMs };
    await this.save();
    return 0;
  }

  /** The firmware of this boot has been marked good. */
  async trialEnded(): Promise<void> {
    this.#entries = { ...this.#entries, trialSinceMs: null };
    await this.save();
  }

  /** Logs its own failures: a board whose state folder can't be written is rebooted all the same. */
  async save(): Promise<void> {
    try {
      await this.#file.write(this.#entries);
    } catch (error) {
      this.#log.warn(`the record of this boot can't be kept: ${messageOf(error)}`, {
        path: this.#file.path,
      });
    }
  }
}
