/**
 * GPIO through sysfs, as kernels with CONFIG_GPIO_SYSFS have it. A line that a killed agent left exported is still
 * there for the next one, so an external watchdog can be fed on.
 */
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import type { GpioChip, GpioLine } from "./gpio-chip.ts";

/**
 * The chips that the kernel shows in sysfs.
 * @param root the root folder, `/` on a board
 * @returns undefined where it was built without CONFIG_GPIO_SYSFS
 */
export async function sysfsChips(root: string): Promise<GpioChip[] | undefined> {
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
