/**
 * Finds the GPIO line that `watchdog.gpio.line` names, and drives it through sysfs, or through libgpiod's tools
 * (gpiod-tools.ts) where the kernel has no sysfs for GPIO. Numbers are offsets on a chip: those of sysfs start at 0, 458
 * or 512, depending on the kernel, so an update of the kernel would make them name other lines. A line that a killed
 * agent left exported in sysfs is still there for the next one, so an external watchdog can be fed on.
 */
import { existsSync } from "node:fs";
import { readdir, readFile, readlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import type { World } from "../platform/world.ts";
import type { GpioChip, GpioLine } from "./gpio-chip.ts";
import { gpiodChips } from "./gpiod-tools.ts";

/** A line that is there, and not opened yet. */
export interface FoundLine {
  /** For people: `GPIO17 of pinctrl-bcm2835 (sysfs 529)`. */
  readonly name: string;
  /** The user of the line, if that can be seen. */
  user(): Promise<string | undefined>;
  /** Opens it as an output that begins at this level. @throws Failure */
  open(high: boolean): Promise<GpioLine>;
}

/**
 * Finds the line that the configuration names: `17`, `GPIO17`, `pinctrl-bcm2835:17` or
 * `fe200000.gpio:17`. The number is the
 * offset on its chip, independent of the base of sysfs: 0 in old kernels, 512 from 6.6 on.
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

function chooseChip(chips: readonly GpioChip[], name: string | undefined, offset: number): GpioChip {
  const words = (some: readonly GpioChip[]): string =>
    some.map((chip) => wordFor(chip, chips)).join(", ") || "none";
  const header = chips.filter((chip) => HEADER.test(chip.label));
  const fitting =
    name !== undefined
      ? chips.filter(({ label, device }) => name === label || name === device)
      : header.length > 0
        ? header
        : chips;
  const [only, ...others] = fitting;
  if (only !== undefined && others.length === 0) return only;
  if (only !== undefined) {
    const several =
      name === undefined
        ? `there are several GPIO chips (${words(chips)})`
        : `several GPIO chips are called ${name} (${words(fitting)})`;
    throw new Failure(
      "gpio_line_invalid",
      `watchdog.gpio.line: ${several}; put the chip in front, as in "${wordFor(only, chips)}:${offset}"`,
    );
  }
  if (name === undefined)
    throw new Failure("gpio_unavailable", "watchdog.gpio.line: the board has no GPIO chip");
  throw new Failure(
    "gpio_line_invalid",
    `watchdog.gpio.line: there is no GPIO chip ${name}; there are: ${words(chips)}`,
  );
}

/** The word that means this chip alone: its label, or its device where another one has the same label. */
function wordFor({ label, device }: GpioChip, chips: readonly GpioChip[]): string {
  const alone = chips.filter((chip) => chip.label === label).length === 1;
  return alone ? label : (device ?? label);
}

/**
 * The chips that the kernel shows in sysfs.
 * @param root the root folder, `/` on a board
 * @returns undefined where it was built without CONFIG_GPIO_SYSFS
 */
async function sysfsChips(root: string): Promise<GpioChip[] | undefined> {
  const folder = join(root, "sys/class/gpio");
  if (!existsSync(join(folder, "export"))) return undefined;
  const names = (await readdir(folder)).filter((name) => /^gpiochip\d+$/.test(name));
  return Promise.all(names.map(async (name) => chipOf(folder, name)));
}

async function chipOf(folder: string, name: string): Promise<GpioChip> {
  const read = async (file: string): Promise<string> =>
    (await readFile(join(folder, name, file), "utf8")).trim();
  const base = Number(await read("base"));
  return {
    label: await read("label"),
    device: await readlink(join(folder, name, "device")).then(basename, () => undefined),
    lines: Number(await read("ngpio")),
    describe: (offset) => `sysfs ${base + offset}`,
    user: async (offset) =>
      Promise.resolve(
        existsSync(join(folder, `gpio${base + offset}`)) ? "whoever exported it in sysfs" : undefined,
      ),
    open: async (offset, high) => open(base + offset, high),
  };
}

/** Through the package onoff, which always uses the system's own /sys. */
async function open(number: number, high: boolean): Promise<GpioLine> {
  const { Gpio } = await import("onoff");
  try {
    // "high" and "low" make it an output with that level at once: no wrong level shows in between.
    const gpio = new Gpio(number, high ? "high" : "low", "none", { activeLow: false });
    return {
      set(level) {
        try {
          gpio.writeSync(level ? 1 : 0);
        } catch (error) {
          throw lineFailure(number, error);
        }
      },
      async close() {
        gpio.unexport();
        return Promise.resolve();
      },
    };
  } catch (error) {
    throw lineFailure(number, error);
  }
}

function lineFailure(number: number, error: unknown): Failure {
  const line = `the GPIO line (sysfs ${number})`;
  switch (systemCode(error)) {
    case "EBUSY":
      return new Failure("device_busy", `${line} is in use by a driver or another program; free it there`, {
        cause: error,
      });
    case "EACCES":
    case "EPERM":
      return new Failure(
        "permission",
        `${line}: permission denied; run as root, or give the agent's group /sys/class/gpio`,
        { cause: error },
      );
    default:
      return new Failure("io", `${line} can't be driven: ${messageOf(error)}`, { cause: error });
  }
}
