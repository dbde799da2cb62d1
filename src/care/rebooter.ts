/**
 * Reboots the board, once for all who ask. It waits for an update that goes on, reports to the hub, notes the
 * reason for the next boot, ends what the agent runs, and tries one method after the other. When all have failed,
 * a starving watchdog may still reset the board; without one the agent is left stranded, and another must start
 * for people to reach the board.
 */
import { EventEmitter } from "node:events";
import { reboot, rebootMethods } from "../board/reboot.ts";
import type { Config } from "../config/schema.ts";
import type { BoardFirmware } from "../firmware/board-firmware.ts";
import type { DeviceTopic } from "../hub/device-topic.ts";
import { type Cancel, type Clock, within } from "../platform/clock.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import type { Updater } from "../update/updater.ts";
import type { BootRecord } from "./boot-record.ts";
import type { Watchdogs } from "./watchdogs.ts";

export interface RebooterEvents {
  /** Every method has failed, and no watchdog has reset the board: stop this agent and start another. */
  stranded: [];
}

export interface RebooterOptions {
  readonly config: Config["reboot"];
  /** Keeps the reason for the next boot. */
  readonly boot: Pick<BootRecord, "note">;
  readonly firmware: Pick<BoardFirmware, "noteReboot">;
  readonly hub: Pick<DeviceTopic, "send" | "flush">;
  readonly watchdogs: Pick<Watchdogs, "armed" | "resetByGpio">;
  readonly world: World;
  readonly log: Log;
}

/** The parts that a reboot waits for and ends. They ask whether the board is rebooting, so they are made after it. */
export interface RunningAgent {
  readonly updater: Pick<Updater, "status" | "settled">;
  /** Ends everything that the agent runs, such as commands. */
  endChildren(): Promise<void>;
}

/** More than a starving watchdog takes: the longest usual time-out is four minutes (x86 boards). */
const STARVING_MS = 300_000;

/** A reboot, and how far it is. */
export interface RebootUnderWay {
  readonly reason: string;
  /** The method that was tried last; null before the first. */
  readonly method: string | null;
  /** Every method was tried, in vain. */
  readonly failed: boolean;
}

export class Rebooter extends EventEmitter<RebooterEvents> {
  readonly #options: RebooterOptions;
  readonly #world: World;
  readonly #log: Log;
  readonly #stop = new AbortController();
  #agent: RunningAgent | undefined;
  #rebooting: Promise<void> | undefined;
  #failed = false;
  #current: RebootUnderWay | null = null;
  #cancelStranded: Cancel = () => undefined;

  constructor(options: RebooterOptions) {
    super();
    this.#options = options;
    this.#world = options.world;
    this.#log = options.log;
  }

  get rebooting(): boolean {
    return this.#rebooting !== undefined;
  }

  /** Every method has been tried, and the board is still up. */
  get failed(): boolean {
    return this.#failed;
  }

  /** The reboot under way, or the last one that failed; null when there was none. */
  get current(): RebootUnderWay | null {
    return this.#current;
  }

  /** Names what reboots wait for and end; called once, before anything can ask for one. */
  start(agent: RunningAgent): void {
    this.#agent = agent;
  }

  /** @param reason for the log, the next boot and the hub's users */
  reboot(reason: string): void {
    if (!this.#stop.signal.aborted) this.#rebooting ??= this.#run(reason);
  }

  /** The agent ends, as it does when the reboot takes effect. */
  async stop(): Promise<void> {
    this.#stop.abort(new Failure("stopped", "the agent stops"));
    await this.#rebooting;
    this.#cancelStranded();
  }

  async #run(reason: string): Promise<void> {
    const { config, boot, firmware, hub, watchdogs } = this.#options;
    const { clock } = this.#world;
    const log = this.#log;
    const { signal } = this.#stop;
    this.#current = { reason, method: null, failed: false };
    try {
      if (this.#agent !== undefined) await awaitUpdate(this.#agent.updater, clock, log);
      await firmware.noteReboot();
      if (signal.aborted) return;
      await boot.note(reason, null);
      await reboot({
        reason,
        methods: rebootMethods(config, {
          world: this.#world,
          resetByGpio: async (stop) => watchdogs.resetByGpio(stop),
        }),
        graceMs: config.graceMs,
        escalateMs: config.escalateMs,
        async flush(timeoutMs) {
          hub.send({ event: "rebooting", payload: {} });
          await hub.flush(timeoutMs);
        },
        endChildren: async () => this.#agent?.endChildren(),
        onMethod: (method) => {
          this.#current = { reason, method, failed: false };
          void boot.note(reason, method); // logs its own failures
        },
        ...{ world: this.#world, log, signal },
      });
    } catch (error) {
      log.error(messageOf(error));
      this.#failed = true;
      this.#current = { reason, method: this.#current.method, failed: true };
      this.#cancelStranded();
      this.#cancelStranded = clock.after(watchdogs.armed ? STARVING_MS : 0, () => this.emit("stranded"));
    } finally {
      this.#rebooting = undefined;
    }
  }
}

/** An update that makes no step for this long waits for its network, or hangs. */
const STILL_MS = 60_000;
const POLL_MS = 5000;

/**
 * Waits before a reboot for the update under way, as long as it goes on. One that makes no progress is abandoned:
 * it is in the other slot, which is invalid until the last byte is written, and starts over after the boot.
 */
async function awaitUpdate(updater: RunningAgent["updater"], clock: Clock, log: Log): Promise<void> {
  const stillForMs = (): number | undefined => updater.status.stillForMs;
  // While an update is being decided nothing is written, and a yes that comes now finds the board rebooting.
  if (stillForMs() === undefined || updater.status.state === "deciding") return;
  log.warn("the reboot waits for the update under way");
  const settled = updater.settled().then(() => true);
  while (!(await within(clock, POLL_MS, settled, false))) {
    if ((stillForMs() ?? 0) < STILL_MS) continue;
    log.warn("the reboot waits no longer for the update: it stands still", { for_s: STILL_MS / 1000 });
    return;
  }
}
