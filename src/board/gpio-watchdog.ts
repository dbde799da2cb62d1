import type { Config } from "../config/schema.ts";
import { type Clock, sleep } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { GpioDeps } from "./gpio-chip.ts";
import { findLine } from "./gpio-line.ts";

export interface GpioWatchdogOptions extends GpioDeps {
  readonly config: Config["watchdog"]["gpio"];
  /** Whether the agent is well enough to feed. */
  readonly mayFeed: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

/** An external watchdog on a GPIO line. */
export interface GpioWatchdog {
  /** For people: the line, and how it is used. */
  readonly name: string;
  /** Makes it reset the board: stops toggling for good, or gives the pulse. @throws Failure */
  reset(signal: AbortSignal): Promise<void>;
  /** Lets the line rest, and gives it back. */
  stop(): Promise<void>;
}

/**
 * Takes the line, at rest; with `mode = "toggle"` it changes from now on while `mayFeed` says so.
 * @throws Failure when it can't be taken
 */
export async function openGpioWatchdog(options: GpioWatchdogOptions): Promise<GpioWatchdog> {
  const { config, clock, log } = options;
  const found = await findLine(config.line, options);
  const user = await found.user();
  // One that a killed agent left behind has to be fed on, or the board is reset.
  if (user !== undefined) log.warn(`${found.name} is in use by ${user}; it is taken over`);
  const line = await found.open(config.activeLow);
  let asserted = false;
  let starved = false;
  let problem: string | undefined;
  let cancel = (): void => undefined;

  const assert = (value: boolean): void => {
    asserted = value;
    line.set(value !== config.activeLow);
  };

  /** A line that can't be driven is said once, and tried again. */
  const tryToAssert = (value: boolean): void => {
    try {
      assert(value);
      problem = undefined;
    } catch (error) {
      if (problem !== messageOf(error)) log.error(`the external watchdog is not fed: ${messageOf(error)}`);
      problem = messageOf(error);
    }
  };

  const toggle = (): void => {
    cancel = clock.after(config.periodMs, () => {
      if (options.mayFeed()) tryToAssert(!asserted);
      else if (asserted) tryToAssert(false);
      if (!starved) toggle();
    });
  };
  if (config.mode === "toggle") toggle();

  return {
    name:
      config.mode === "toggle"
        ? `${found.name}, toggled each ${config.periodMs} ms`
        : `${found.name}, pulsed for ${config.pulseMs} ms to reset`,
    async reset(signal) {
      if (config.mode === "toggle") {
        starved = true;
        cancel();
        assert(false);
        return;
      }
      assert(true);
      try {
        await sleep(clock, config.pulseMs, signal);
      } finally {
        assert(false);
      }
    },
    async stop() {
      cancel();
      tryToAssert(false);
      await line.close();
      if (config.mode === "toggle")
        log.warn("the external watchdog is not fed any more: it resets the board when its time is over");
    },
  };
}
