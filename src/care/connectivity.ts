/**
 * Helps a board that has lost its hub but not its power: after a while it runs `connectivity.command`, and then
 * reboots the board, a few times a day at most. A reboot that can't be counted is not made: a hub that is down
 * for a day must not keep its whole fleet rebooting.
 */
import { EventEmitter } from "node:events";
import type { Config } from "../config/schema.ts";
import type { Journal } from "../firmware/journal.ts";
import { sleep } from "../platform/clock.ts";
import { failedEnd } from "../platform/command.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";

export interface ConnectivityEvents {
  /** The command was run: connect now, instead of at the end of a wait. */
  reconnect: [];
  reboot: [reason: string];
}

export interface ConnectivityOptions {
  readonly config: Config["connectivity"];
  readonly journal: Pick<Journal, "connectivityRebootsMs" | "update">;
  /** Firmware on trial has a deadline of its own, which decides when the board reboots. */
  readonly validation: { readonly pending: boolean };
  readonly world: World;
  readonly log: Log;
}

/** A modem takes minutes to start. */
const COMMAND_TIMEOUT_MS = 300_000;
/**
 * The share of `connectivity.after_s` by which boards differ: a fleet that lost its hub at once would otherwise run its
 * commands, and reboot, in the same second.
 */
const SPREAD_SHARE = 0.1;
/** For the connection to come up after the command has brought the network back. */
const COME_UP_MS = 60_000;
const DAY_MS = 86_400_000;

export class Connectivity extends EventEmitter<ConnectivityEvents> {
  readonly #options: ConnectivityOptions;
  readonly #config: Config["connectivity"];
  readonly #world: World;
  readonly #log: Log;
  readonly #stop = new AbortController();
  /** Aborted when the hub is connected again. */
  #outage: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();
  /** Wall-clock ms of the reboots that were made because the hub was away. */
  #rebootsMs: readonly number[];

  constructor(options: ConnectivityOptions) {
    super();
    this.#options = options;
    this.#config = options.config;
    this.#world = options.world;
    this.#log = options.log;
    this.#rebootsMs = options.journal.connectivityRebootsMs;
  }

  /** Notes each change of the connection to the hub, and its state at the start. */
  note(connected: boolean): void {
    if (connected) {
      this.#outage?.abort(new Error("the hub is connected"));
      this.#outage = undefined;
    } else if (this.#config.afterMs > 0 && this.#outage === undefined && !this.#stop.signal.aborted) {
      this.#outage = new AbortController();
      const { signal } = this.#outage;
      // One after the other: the command of an outage that is over may still run.
      this.#running = this.#running
        .then(async () => this.#handleOutage(signal))
        .catch((error: unknown) => {
          if (!signal.aborted) this.#log.error(`connectivity: ${messageOf(error)}`);
        });
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Failure("stopped", "the agent stops"));
    this.#outage?.abort(this.#stop.signal.reason);
    await this.#running;
  }

  async #handleOutage(signal: AbortSignal): Promise<void> {
    const { afterMs, command } = this.#config;
    const { clock, random } = this.#world;
    for (;;) {
      await sleep(clock, afterMs * (1 + SPREAD_SHARE * random()), signal);
      if (command !== "") {
        await this.#runCommand();
        signal.throwIfAborted();
        this.emit("reconnect");
        await sleep(clock, Math.min(COME_UP_MS, afterMs), signal);
      }
      const allowed = await this.#countReboot();
      signal.throwIfAborted(); // the hub may have come back in between
      if (allowed) this.emit("reboot", `no hub for ${afterMs / 1000} s`);
    }
  }

  async #runCommand(): Promise<void> {
    const { afterMs, command } = this.#config;
    const { clock, run } = this.#world;
    this.#log.warn("no hub for too long: connectivity.command is run", { after_s: afterMs / 1000 });
    try {
      const result = await run(command, {
        clock,
        timeoutMs: COMMAND_TIMEOUT_MS,
        signal: this.#stop.signal,
      });
      if (result.exitCode !== 0)
        this.#log.warn(`connectivity.command ${failedEnd(result, COMMAND_TIMEOUT_MS)}`);
    } catch (error) {
      this.#log.error(`connectivity.command: ${messageOf(error)}`);
    }
  }

  /** Whether the board may be rebooted; if so, the reboot is counted already. */
  async #countReboot(): Promise<boolean> {
    const { journal, validation } = this.#options;
    const { perDay } = this.#config;
    if (validation.pending) {
      this.#log.info("no hub for too long: left to the trial of the running firmware");
      return false;
    }
    const recent = this.#recentReboots();
    if (recent.length >= perDay) {
      this.#log.error("no hub for too long, and the board was rebooted for it often enough today", {
        per_day: perDay,
      });
      return false;
    }
    const withThis = [...recent, this.#world.clock.now()];
    if (await journal.update({ connectivityRebootsMs: withThis })) {
      this.#rebootsMs = withThis;
      return true;
    }
    this.#log.error(
      "no hub for too long: not rebooted, since nothing would tell the next boot how often it was",
    );
    return false;
  }

  /** Reboots within 24 h of now, in either direction, because the clock may have been set back. */
  #recentReboots(): readonly number[] {
    const nowMs = this.#world.clock.now();
    return this.#rebootsMs.filter((atMs) => Math.abs(nowMs - atMs) < DAY_MS);
  }
}
