/**
 * The two shapes that both ways to GPIO have: sysfs (gpio-line.ts) and libgpiod's tools (gpiod-tools.ts).
 * Levels are raw, high or low; polarity is the watchdog's matter.
 */

/** A GPIO line that is driven. */
export interface GpioLine {
  /** Drives it high or low. @throws Failure when it can't be driven, or could not be the last time */
  set(high: boolean): void;
  /** Gives it back. */
  close(): Promise<void>;
}

/** A GPIO chip of the board. */
export interface GpioChip {
  /** As its driver names it, such as `pinctrl-bcm2835`. */
  readonly label: string;
  /** The device that it belongs to, such as `fe200000.gpio`: chips of one driver may have one label. */
  readonly device: string | undefined;
  /** How many lines it has. */
  readonly lines: number;
  /** For people, how and where a line is reached: `sysfs 529`. */
  describe(offset: number): string;
  /** The user of the line, if that can be seen. */
  user(offset: number): Promise<string | undefined>;
  /** Opens a line as an output that begins at this level. @throws Failure */
  open(offset: number, high: boolean): Promise<GpioLine>;
}
