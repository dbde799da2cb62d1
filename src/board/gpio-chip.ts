import type { Clock } from "../platform/clock.ts";
import type { runCommand } from "../platform/command.ts";

/** A GPIO line that is driven. */
export interface GpioLine {
  /** Drives it high or low. @throws Failure when it can't be driven, or the last time came to nothing */
  set(high: boolean): void;
  /** Gives it back. */
  close(): Promise<void>;
}

/** A GPIO chip of the board. */
export interface GpioChip {
  /** As its driver names it, such as `pinctrl-bcm2835`. */
  readonly label: string;
  readonly lines: number;
  /** How it is reached, and where: `sysfs 529`. */
  describe(offset: number): string;
  /** Who holds the line by now, if that can be seen. */
  user(offset: number): Promise<string | undefined>;
  /** Takes a line as an output that begins at this level. @throws Failure */
  open(offset: number, high: boolean): Promise<GpioLine>;
}

export interface GpioDeps {
  /** The root folder, `/` on a board. */
  readonly root: string;
  readonly clock: Clock;
  readonly runCommand: typeof runCommand;
}
