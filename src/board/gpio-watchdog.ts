/**
 * An external watchdog on a GPIO line. With `mode = "toggle"` it is fed by changing the line, and resets the board
 * when that stops; with `mode = "pulse"` it only resets the board when it is asked to. A line that is held already
 * is used all the same: a killed agent leaves it so, and unless somebody feeds on, the board is reset.
 */
import type { Config } from "../config/schema.ts";
import { sleep } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import type { GpioLine } from "./gpio-chip.ts";
import { findLine } from "./gpio-line.ts";

export interface GpioWatchdogOptions {
  readonly config: Config["watchdog"]["gpio"];
  /** Whether the agent is well enough to feed. */
  readonly mayFeed: () => boolean;
  readonly world: World;
  readonly log: Log;
}

export class GpioWatchdog {
  /** For people: the line, and how it is used. */
  readonly name: string;
  readonly #options: GpioWatchdogOptions;
  readonly #line: GpioLine;
  #asserted = false;
  #starving = false;
  #problem: string | undefined;
  #cancelToggle = (): void => undefined;

  private constructor(options: GpioWatchdogOptions, line: GpioLine, lineName: string) {
    const { mode, periodMs, pulseMs } = options.config;
    this.#options = options;
    this.#line = line;
    this.name =
      mode === "toggle"
        ? `${lineName}, toggled each ${periodMs} ms`
        : `${lineName}, pulsed for ${pulseMs} ms to reset`;
  }

  /**
   * Opens the line, not asserted; with `mode = "toggle"` it changes from then on while `mayFeed` allows it.
   * @throws Failure when it can't be opened
   */
  static async open(options: GpioWatchdogOptions): Promise<GpioWatchdog> {
    const { config, world, log } = options;
    const found = await findLine(config.line, world);
    const user = await found.user();
    if (user !== undefined) log.warn(`${found.name} is in use by ${user}; it is taken over`);
    const watchdog = new GpioWatchdog(options, await found.open(config.activeLow), found.name);
    if (config.mode === "toggle") watchdog.#toggleLater();
    return watchdog;
  }

  /**
   * Makes it reset the board: stops toggling for good, or gives the pulse.
   * @throws Failure when the line can't be driven; the signal's reason when it is aborted during the pulse
   */
  async reset(signal: AbortSignal): Promise<void> {
    const { config, world } = this.#options;
    if (config.mode === "toggle") {
      this.#starving = true;
      this.#cancelToggle();
      this.#assert(false);
      return;
    }
    this.#assert(true);
    try {
      await sleep(world.clock, config.pulseMs, signal);
    } finally {
      this.#assert(false);
    }
  }

  /** Leaves the line not asserted, and gives it back. */
  async stop(): Promise<void> {
    this.#cancelToggle();
    this.#tryToAssert(false);
    await this.#line.close();
    if (this.#options.config.mode === "toggle")
      this.#options.log.warn(
        "the external watchdog is not fed any more: it resets the board when its time is over",
      );
  }

  #toggleLater(): void {
    const { config, mayFeed, world } = this.#options;
    this.#cancelToggle = world.clock.after(config.periodMs, () => {
      if (mayFeed()) this.#tryToAssert(!this.#asserted);
      else if (this.#asserted) this.#tryToAssert(false);
      if (!this.#starving) this.#toggleLater();
    });
  }

  #assert(value: boolean): void {
    this.#asserted = value;
    this.#line.set(value !== this.#options.config.activeLow);
  }

  /** Logs a line that can't be driven once, and tries it again the next time. */
  #tryToAssert(value: boolean): void {
    try {
      this.#assert(value);
      this.#problem = undefined;
    } catch (error) {
      const problem = messageOf(error);
      if (this.#problem !== problem) this.#options.log.error(`the external watchdog is not fed: ${problem}`);
      this.#problem = problem;
    }
  }
}
