import type { GpioDeps } from "../board/gpio-chip.ts";
import { type GpioWatchdog, type GpioWatchdogConfig, openGpioWatchdog } from "../board/gpio-watchdog.ts";
import { type KernelWatchdog, openKernelWatchdog } from "../board/kernel-watchdog.ts";
import type { Config } from "../config/schema.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { Updater } from "../update/updater.ts";
import type { ApplicationCheck } from "./application-check.ts";
import type { Rebooter } from "./rebooter.ts";
import type { Validation } from "./validation.ts";

export interface WatchdogsOptions extends GpioDeps {
  /** `[watchdog]` */
  readonly config: { readonly device: string; readonly gpio: GpioWatchdogConfig };
  /** How the agent is, but for its event loop. */
  readonly vitals: () => Omit<Vitals, "laggingForMs">;
  readonly log: Log;
}

/** The board's watchdogs, fed as long as the agent is well. */
export interface Watchdogs {
  /** One line for each that is configured: what it is, or why it can't be used. */
  readonly names: readonly string[];
  /** At least one could be opened. */
  readonly armed: boolean;
  /** Why they are not fed, so that they reset the board. */
  readonly starving: string | undefined;
  /** Arms what is configured. One that can't be used is reported, and the agent works without. */
  open(): Promise<void>;
  /** Makes the external one reset the board. @throws Failure when there is none that could */
  resetByGpio(signal: AbortSignal): Promise<void>;
  /** @param forReboot the board goes down: the kernel's stays armed, so that it can't hang on the way */
  stop(forReboot: boolean): Promise<void>;
}

const LOOK_MS = 1000;
/** A look that comes later than this finds the event loop lagging. */
const LATE_MS = 1000;

export function createWatchdogs(options: WatchdogsOptions): Watchdogs {
  const { config, clock, log } = options;
  const names: string[] = [];
  let kernel: KernelWatchdog | undefined;
  let gpio: GpioWatchdog | undefined;
  let gpioProblem: Failure | undefined;
  let laggingSinceMs: number | undefined;
  let starving: string | undefined;
  let cancelLook = (): void => undefined;

  const judge = (): void => {
    const laggingForMs = laggingSinceMs === undefined ? 0 : clock.monotonic() - laggingSinceMs;
    const reason = reasonToStarve({ ...options.vitals(), laggingForMs });
    if (reason !== undefined && reason !== starving)
      log.error(`the watchdogs are not fed any more, and reset the board: ${reason}`);
    if (reason === undefined && starving !== undefined) log.warn("the watchdogs are fed again");
    starving = reason;
  };
  const look = (): void => {
    const dueMs = clock.monotonic() + LOOK_MS;
    cancelLook = clock.after(LOOK_MS, () => {
      const late = clock.monotonic() - dueMs > LATE_MS;
      laggingSinceMs = late ? (laggingSinceMs ?? dueMs) : undefined;
      judge();
      look();
    });
  };
  const mayFeed = (): boolean => starving === undefined;

  /** @returns why it can't be opened */
  const problemOf = (error: unknown): Failure => {
    const failure =
      error instanceof Failure ? error : new Failure("failed", messageOf(error), { cause: error });
    log.error(`a watchdog can't be used: ${failure.message}`);
    names.push(failure.message);
    return failure;
  };

  return {
    names,
    get armed() {
      return kernel !== undefined || gpio !== undefined;
    },
    get starving() {
      return starving;
    },
    async open() {
      if (config.device !== "") {
        try {
          kernel = await openKernelWatchdog({ ...options, device: config.device, mayFeed });
          names.push(kernel.name);
        } catch (error) {
          problemOf(error);
        }
      }
      if (config.gpio.line !== "") {
        try {
          gpio = await openGpioWatchdog({ ...options, config: config.gpio, mayFeed });
          names.push(gpio.name);
        } catch (error) {
          gpioProblem = problemOf(error);
        }
      }
      if (names.length > 0) look();
    },
    async resetByGpio(signal) {
      if (gpio === undefined) throw gpioProblem ?? new Failure("unavailable", "there is no GPIO watchdog");
      await gpio.reset(signal);
    },
    async stop(forReboot) {
      cancelLook();
      const open = { kernel, gpio };
      kernel = gpio = undefined;
      if (forReboot) open.kernel?.leaveArmed();
      else open.kernel?.stop();
      await open.gpio?.stop();
    },
  };
}

export interface VitalsSources {
  /** `[update]` */
  readonly config: Pick<Config["update"], "stallMs">;
  readonly updater: Updater;
  readonly validation: Validation;
  readonly rebooter: Rebooter;
  readonly applicationCheck: ApplicationCheck;
}

/** How the agent is, but for its event loop. */
export function vitalsOf({
  config,
  updater,
  validation,
  rebooter,
  applicationCheck,
}: VitalsSources): Omit<Vitals, "laggingForMs"> {
  const { state, stillForMs } = updater.status;
  // In all other states it may wait for the network, which no reset of the board brings back.
  const local = state === "clearing" || state === "finishing";
  return {
    updateStillForMs: local ? stillForMs : undefined,
    updateLimitMs: config.stallMs + SPARE_MS,
    trialOverForMs: validation.overForMs,
    checkFailures: applicationCheck.failures,
    rebootFailed: rebooter.failed,
  };
}

/** For an fwup that is ended after `stall_s` to be gone. */
const SPARE_MS = 60_000;

/** What tells whether the agent is well. */
export interface Vitals {
  /** For how long the event loop has come late each time it was looked at, ms; 0: it is in time. */
  readonly laggingForMs: number;
  /** Since the update under way last made a step, ms; undefined: there is none, or it may wait for its network. */
  readonly updateStillForMs: number | undefined;
  /** The update's own time limit has passed without a step after this, ms. */
  readonly updateLimitMs: number;
  /** Since the time was over in which the firmware on trial had to prove good, ms; undefined: it is not. */
  readonly trialOverForMs: number | undefined;
  /** How often the application's own check has failed in a row. */
  readonly checkFailures: number;
  /** Every way to reboot has been tried, and the board is still up. */
  readonly rebootFailed: boolean;
}

/** A Pi Zero is late by seconds while it is busy; an agent that is never in time for so long is sick. */
const LAGGING_LIMIT_MS = 60_000;

const CHECK_FAILURES_LIMIT = 3;

/** More than all ways to reboot take, with their usual deadlines. */
const TRIAL_LIMIT_MS = 300_000;

/**
 * Why the watchdogs must not be fed, so that they reset the board; undefined while all is well.
 *
 * An event loop that stands still feeds nothing anyway, so that it needs no rule of its own.
 */
export function reasonToStarve(vitals: Vitals): string | undefined {
  if (vitals.rebootFailed) return "the board is still up after every way to reboot it";
  if (vitals.trialOverForMs !== undefined && vitals.trialOverForMs >= TRIAL_LIMIT_MS)
    return "the firmware on trial did not prove good, and the reboot out of it does not come";
  if (vitals.laggingForMs >= LAGGING_LIMIT_MS) return "the agent has been too slow for a minute";
  if (vitals.updateStillForMs !== undefined && vitals.updateStillForMs >= vitals.updateLimitMs)
    return "the update under way neither goes on nor ends";
  if (vitals.checkFailures >= CHECK_FAILURES_LIMIT)
    return `watchdog.command has failed ${CHECK_FAILURES_LIMIT} times in a row`;
  return undefined;
}
