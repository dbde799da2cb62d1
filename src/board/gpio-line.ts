/**
 * Finds the GPIO line that `watchdog.gpio.line` names. Numbers are offsets on a chip: those of sysfs start at 0,
 * 458 or 512, depending on the kernel, so an update of the kernel would make them name other lines.
 */
import { Failure } from "../platform/failure.ts";
import type { World } from "../platform/world.ts";
import type { GpioChip, GpioLine } from "./gpio-chip.ts";
import { sysfsChips } from "./gpio-sysfs.ts";
import { gpiodChips } from "./gpiod-tools.ts";

/** A line that is there, and not opened yet. */
export interface FoundLine {
  /** For people: `GPIO17 of pinctrl-bcm2835 (sysfs 529)`. */
  readonly name: string;
  /** Who holds it, if that can be seen. */
  user(): Promise<string | undefined>;
  /** Opens it as an output that begins at this level. @throws Failure */
  open(high: boolean): Promise<GpioLine>;
}

/**
 * Finds the line that the configuration names: `17`, `GPIO17` or `pinctrl-bcm2835:17`. The number is the
 * offset on its chip, whatever base sysfs counts from: 0 in old kernels, 512 from 6.6 on.
 * @throws Failure that names the chip, the line or the missing program
 */
export async function findLine(text: string, world: World): Promise<FoundLine> {
  const [, label, digits] = /^(?:([^\s:]+):|GPIO)?(\d+)$/.exec(text) ?? [];
  const offset = Number(digits);
  const chip = chooseChip((await sysfsChips(world.root)) ?? (await gpiodChips(world)), label, offset);
  if (offset >= chip.lines) {
    throw new Failure(
      "gpio_line_invalid",
      `watchdog.gpio.line: ${chip.label} has no line ${offset}, only lines 0 to ${chip.lines - 1}`,
    );
  }
  return {
    name: `GPIO${offset} of ${chip.label} (${chip.describe(offset)})`,
    user: async () => chip.user(offset),
    open: async (high) => chip.open(offset, high),
  };
}

/** The chips whose lines are on a Raspberry Pi's header: pinctrl-bcm2835, pinctrl-bcm2711, pinctrl-rp1. */
const HEADER = /^pinctrl-/;

function chooseChip(chips: readonly GpioChip[], label: string | undefined, offset: number): GpioChip {
  const known = chips.map((chip) => chip.label).join(", ") || "none";
  if (label !== undefined) {
    const named = chips.find((chip) => chip.label === label);
    if (named !== undefined) return named;
    throw new Failure(
      "gpio_line_invalid",
      `watchdog.gpio.line: there is no GPIO chip ${label}; there are: ${known}`,
    );
  }
  const header = chips.filter((chip) => HEADER.test(chip.label));
  const [only, ...others] = header.length > 0 ? header : chips;
  if (only === undefined)
    throw new Failure("gpio_unavailable", "watchdog.gpio.line: the board has no GPIO chip");
  if (others.length === 0) return only;
  throw new Failure(
    "gpio_line_invalid",
    `watchdog.gpio.line: there are several GPIO chips (${known}); put the chip in front, as in "${only.label}:${offset}"`,
  );
}
