import { reasonToStarve, type Vitals } from "./feeding.ts";
import type { GpioDeps } from "../board/gpio-line.ts";
import { openGpioWatchdog, type GpioWatchdog, type GpioWatchdogConfig } from "../board/gpio-watchdog.ts";
import { openKernelWatchdog, type KernelWatchdog } from "../board/kernel-watchdog.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

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
      error instanceof Failure ? error : new Failure("other", messageOf(error), { cause: error });
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
