/**
 * The board's watchdogs, fed as long as the agent is healthy, and the application's own check (`watchdog.command`),
 * which is a part of that health. When the agent is sick, they starve and reset the board: that is the way out of
 * states that no code of the agent can leave, and never a way to punish a bad network, which a reset does not bring
 * back.
 */
import { GpioWatchdog } from "../board/gpio-watchdog.ts";
import { KernelWatchdog } from "../board/kernel-watchdog.ts";
import type { Config } from "../config/schema.ts";
import { type Cancel, sleep } from "../platform/clock.ts";
import { failedEnd } from "../platform/command.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";

/** The health of the agent, but for its event loop. */
export interface AgentHealth {
  /**
   * Since the update under way last made a step, ms; undefined when none is, or when it may wait for its network.
   */
  readonly updateStillForMs: number | undefined;
  /** The update's own time limit passes without a step after this, ms. */
  readonly updateStallMs: number;
  /** Since the firmware on trial should have proven good, ms; undefined when it has, or has time left. */
  readonly trialExpiredForMs: number | undefined;
  /** How often the application's own check has failed in a row. */
  readonly checkFailures: number;
  /** Every method to reboot has been tried, and the board is still up. */
  readonly rebootFailed: boolean;
}

/** A Pi Zero is late by seconds while it is busy; an agent that is late for a whole minute is sick. */
const LAGGING_LIMIT_MS = 60_000;
const CHECK_FAILURES_LIMIT = 3;
/** More than all methods to reboot take, with their usual deadlines. */
const TRIAL_LIMIT_MS = 300_000;
/** An fwup that is ended after its time limit needs some time to be gone. */
const UPDATE_SPARE_MS = 60_000;

/**
 * Why the watchdogs must not be fed, so that they reset the board; undefined while all is well. An event loop that
 * stands still feeds nothing anyway, so it needs no rule.
 * @param laggingForMs for how long the event loop has been late at each look; 0 when it is in time
 */
export function reasonToStarve(health: AgentHealth, laggingForMs: number): string | undefined {
  if (health.rebootFailed) return "the board is still up after every way to reboot it";
  if ((health.trialExpiredForMs ?? 0) >= TRIAL_LIMIT_MS)
    return "the firmware on trial did not prove good, and the reboot out of it does not come";
  if (laggingForMs >= LAGGING_LIMIT_MS) return "the agent has been too slow for a minute";
  if ((health.updateStillForMs ?? 0) >= health.updateStallMs + UPDATE_SPARE_MS)
    return "the update under way neither goes on nor ends";
  if (health.checkFailures >= CHECK_FAILURES_LIMIT)
    return `watchdog.command has failed ${CHECK_FAILURES_LIMIT} times in a row`;
  return undefined;
}

/** Between two looks at the agent's health. */
const LOOK_MS = 1000;
/** A look that comes later than this finds the event loop lagging. */
const LATE_MS = 1000;

export class Watchdogs {
  readonly #config: Config["watchdog"];
  readonly #world: World;
  readonly #log: Log;
  #kernel: KernelWatchdog | undefined;
  #kernelProblem: Failure | undefined;
  #gpio: GpioWatchdog | undefined;
  #gpioProblem: Failure | undefined;
  #laggingSinceMs: number | undefined;
  #starving: string | undefined;
  #cancelLook: Cancel = () => undefined;

  constructor(config: Config["watchdog"], world: World, log: Log) {
    this.#config = config;
    this.#world = world;
    this.#log = log;
  }

  /** One line for each that is configured: what it is, or why it can't be used. */
  get names(): readonly string[] {
    const { device, gpio } = this.#config;
    const kernel = device === "" ? undefined : (this.#kernel?.name ?? this.#kernelProblem?.message);
    const external = gpio.line === "" ? undefined : (this.#gpio?.name ?? this.#gpioProblem?.message);
    return [kernel, external].filter((name) => name !== undefined);
  }

  /** At least one could be opened. */
  get armed(): boolean {
    return this.#kernel !== undefined || this.#gpio !== undefined;
  }

  /** All that are configured could be opened. */
  get complete(): boolean {
    const { device, gpio } = this.#config;
    return (device === "" || this.#kernel !== undefined) && (gpio.line === "" || this.#gpio !== undefined);
  }

  /** Why they are not fed, so that they reset the board. */
  get starving(): string | undefined {
    return this.#starving;
  }

  /**
   * Arms the configured watchdogs, and feeds them while `health` allows it. One that can't be used is logged, and
   * the agent works without.
   */
  async start(health: () => AgentHealth): Promise<void> {
    const { device, gpio } = this.#config;
    await this.arm();
    if (device !== "" || gpio.line !== "") this.#lookSoon(health);
  }

  /** Arms the configured ones that are not armed yet. */
  async arm(): Promise<void> {
    const { device, gpio: config } = this.#config;
    const common = { world: this.#world, log: this.#log, mayFeed: () => this.#starving === undefined };
    if (device !== "" && this.#kernel === undefined) {
      try {
        this.#kernel = await KernelWatchdog.open({ ...common, device });
      } catch (error) {
        this.#kernelProblem = this.#problemOf(error, this.#kernelProblem);
      }
    }
    if (config.line !== "" && this.#gpio === undefined) {
      try {
        this.#gpio = await GpioWatchdog.open({ ...common, config });
      } catch (error) {
        this.#gpioProblem = this.#problemOf(error, this.#gpioProblem);
      }
    }
  }

  /** Makes the external one reset the board. @throws Failure when there is none that could */
  async resetByGpio(signal: AbortSignal): Promise<void> {
    if (this.#gpio === undefined)
      throw this.#gpioProblem ?? new Failure("unavailable", "there is no GPIO watchdog");
    await this.#gpio.reset(signal);
  }

  /** @param forReboot the board goes down: the kernel's stays armed, so that it can't hang on the way */
  async stop(forReboot: boolean): Promise<void> {
    this.#cancelLook();
    const kernel = this.#kernel;
    const gpio = this.#gpio;
    this.#kernel = this.#gpio = undefined;
    if (forReboot) kernel?.leaveArmed();
    else kernel?.stop();
    await gpio?.stop();
  }

  #lookSoon(health: () => AgentHealth): void {
    const { clock } = this.#world;
    const dueMs = clock.monotonic() + LOOK_MS;
    this.#cancelLook = clock.after(LOOK_MS, () => {
      const late = clock.monotonic() - dueMs > LATE_MS;
      this.#laggingSinceMs = late ? (this.#laggingSinceMs ?? dueMs) : undefined;
      this.#look(health());
      this.#lookSoon(health);
    });
  }

  #look(health: AgentHealth): void {
    const since = this.#laggingSinceMs;
    const reason = reasonToStarve(health, since === undefined ? 0 : this.#world.clock.monotonic() - since);
    if (reason !== undefined && reason !== this.#starving)
      this.#log.error(`the watchdogs are not fed any more, and reset the board: ${reason}`);
    if (reason === undefined && this.#starving !== undefined) this.#log.warn("the watchdogs are fed again");
    this.#starving = reason;
  }

  /** Logs it, unless it is the one of the last time. */
  #problemOf(error: unknown, before: Failure | undefined): Failure {
    const failure =
      error instanceof Failure ? error : new Failure("failed", messageOf(error), { cause: error });
    if (failure.message !== before?.message) this.#log.error(`a watchdog can't be used: ${failure.message}`);
    return failure;
  }
}

const CHECK_INTERVAL_MS = 60_000;
const CHECK_TIMEOUT_MS = 30_000;

/** Runs the command once a minute, and kills it after 30 s. */
export class ApplicationCheck {
  readonly #command: string;
  readonly #world: World;
  readonly #log: Log;
  readonly #stop = new AbortController();
  #failures = 0;
  #running: Promise<void> | undefined;

  /** @param command line for the shell; empty for no check */
  constructor(command: string, world: World, log: Log) {
    this.#command = command;
    this.#world = world;
    this.#log = log;
  }

  /** How often it has failed since it last succeeded. */
  get failures(): number {
    return this.#failures;
  }

  start(): void {
    if (this.#command === "" || this.#running !== undefined) return;
    this.#running = this.#run().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#log.error(`watchdog.command: ${messageOf(error)}`);
    });
  }

  /** Ends it, also while it runs. */
  async stop(): Promise<void> {
    this.#stop.abort(new Failure("stopped", "the agent stops"));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      await sleep(this.#world.clock, CHECK_INTERVAL_MS, signal);
      const problem = await this.#check();
      if (signal.aborted) return;
      this.#failures = problem === undefined ? 0 : this.#failures + 1;
      if (problem !== undefined) this.#log.warn(`watchdog.command ${problem}`, { times: this.#failures });
    }
  }

  /** @returns what is wrong */
  async #check(): Promise<string | undefined> {
    const { clock, run } = this.#world;
    try {
      const result = await run(this.#command, {
        clock,
        timeoutMs: CHECK_TIMEOUT_MS,
        signal: this.#stop.signal,
      });
      return result.exitCode === 0 ? undefined : failedEnd(result, CHECK_TIMEOUT_MS);
    } catch (error) {
      return `can't be run: ${messageOf(error)}`;
    }
  }
}
