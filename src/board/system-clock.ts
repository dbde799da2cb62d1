/**
 * The system's clock, and whether it shows no more than what the agent set it to. A clock that NTP, an RTC or a
 * person has set is evidence; one that the agent set is as good as what the agent knew. An agent that is restarted in
 * the same boot must still know which of both it is: taken for evidence, a wrong time of the agent's would stay.
 */
import { join } from "node:path";
import * as v from "valibot";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { StateFile } from "../platform/state-file.ts";
import type { World } from "../platform/world.ts";
import { readBootId, readUptimeMs } from "./boot-id.ts";

/** A clock that nobody set may drift or be rounded by this much. */
export const TOLERANCE_MS = 60_000;
const SET_TIMEOUT_MS = 5000;

/** In which boot the agent set the clock, and when that boot began by the clock as it was set, ms since 1970. */
const SetSchema = v.object({ boot_id: v.string(), booted_at_ms: v.number() });

export class SystemClock {
  readonly #world: World;
  readonly #file: StateFile<typeof SetSchema>;
  readonly #log: Log;
  /** The time that the agent set the clock to, and when it did. */
  #set: { readonly ms: number; readonly atMonotonicMs: number } | undefined;

  private constructor(stateDir: string, world: World, log: Log) {
    this.#world = world;
    this.#log = log;
    this.#file = new StateFile(join(stateDir, "clock-set"), SetSchema, "the note of the clock", log);
  }

  /** Reads the note that an earlier agent left in this boot. */
  static async open(stateDir: string, world: World, log: Log): Promise<SystemClock> {
    const opened = new SystemClock(stateDir, world, log);
    const noted = await opened.#file.read();
    const boot = noted && (await opened.#boot());
    if (boot === undefined || boot.boot_id !== noted?.boot_id) return opened;
    if (Math.abs(boot.booted_at_ms - noted.booted_at_ms) < TOLERANCE_MS) opened.#noteSet();
    return opened;
  }

  /** The system's time, ms since 1970. */
  now(): number {
    return this.#world.clock.now();
  }

  /** True while it shows what the agent set it to, and the time that passed since. */
  get isOurs(): boolean {
    if (this.#set === undefined) return false;
    const passedMs = this.#world.clock.monotonic() - this.#set.atMonotonicMs;
    return Math.abs(this.now() - this.#set.ms - passedMs) < TOLERANCE_MS;
  }

  /**
   * Sets the clock by `date`, since Node.js can't; GNU's and BusyBox's have the same words for it.
   * @param ms since 1970
   * @returns what is wrong
   */
  async set(ms: number): Promise<string | undefined> {
    const { clock, root, run } = this.#world;
    if (root !== "/") return `it is not that of ${root}`;
    try {
      const command = ["date", "-s", `@${Math.ceil(ms / 1000)}`];
      const { exitCode, stderr } = await run(command, { clock, timeoutMs: SET_TIMEOUT_MS });
      if (exitCode !== 0) return stderr.trim() || `date ended with ${exitCode ?? "a signal"}`;
      if (Math.abs(this.now() - ms) > TOLERANCE_MS) return "date -s had no effect";
    } catch (error) {
      return messageOf(error);
    }
    this.#noteSet();
    await this.#keep();
    return undefined;
  }

  #noteSet(): void {
    this.#set = { ms: this.now(), atMonotonicMs: this.#world.clock.monotonic() };
  }

  async #keep(): Promise<void> {
    const boot = await this.#boot();
    if (boot === undefined) return;
    try {
      await this.#file.write(boot);
    } catch (error) {
      this.#log.warn(`it can't be noted that the clock was set: ${messageOf(error)}`, {
        path: this.#file.path,
      });
    }
  }

  /** This boot, by the clock as it is; undefined without procfs. */
  async #boot(): Promise<v.InferOutput<typeof SetSchema> | undefined> {
    const { root } = this.#world;
    const bootId = await readBootId(root);
    const uptimeMs = await readUptimeMs(root);
    if (bootId === "" || uptimeMs === undefined) return undefined;
    return { boot_id: bootId, booted_at_ms: this.now() - uptimeMs };
  }
}
