/**
 * GPIO through libgpiod's command line tools, versions 1 and 2, for kernels without GPIO in sysfs: the character
 * device needs ioctl, and Node.js has no ioctl.
 */
import { readlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { signalGroup, spawnGroup } from "../platform/child.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { World } from "../platform/world.ts";
import type { GpioChip, GpioLine } from "./gpio-chip.ts";

const TIMEOUT_MS = 5000;

/**
 * The chips that libgpiod's tools find, for kernels without GPIO in sysfs.
 * @throws Failure when the tools are missing, or refused
 */
export async function gpiodChips({ clock, root, run }: World): Promise<GpioChip[]> {
  const ask = async (...command: string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await run(command, { clock, timeoutMs: TIMEOUT_MS });
    if (exitCode === 0) return stdout;
    throw new Failure(
      "gpio_unavailable",
      `${command.join(" ")}: ${stderr.trim() || `ended with ${exitCode ?? "a signal"}`}`,
    );
  };
  let version: string;
  try {
    version = await ask("gpioset", "--version");
  } catch (error) {
    throw new Failure(
      "gpio_unavailable",
      "GPIO can't be reached: this kernel has none in sysfs (CONFIG_GPIO_SYSFS), and libgpiod's tools are not installed; add either",
      { cause: error },
    );
  }
  const isFirst = /\bv1\./.test(version);
  const chips = [...(await ask("gpiodetect")).matchAll(/^(\S+) \[(.*)\] \((\d+) lines\)$/gm)];
  return Promise.all(
    chips.map(async ([, name = "", label = "", lines]) => ({
      label,
      device: await deviceOf(root, name),
      lines: Number(lines),
      describe: (offset) => `line ${offset} of ${name}, by gpioset`,
      async user(offset) {
        const line = await ask("gpioinfo", ...(isFirst ? [name] : ["-c", name, String(offset)]));
        return userOf(line, offset);
      },
      async open(offset, high) {
        const command = (level: boolean): string[] => {
          const setting = `${offset}=${level ? 1 : 0}`;
          return isFirst ? ["gpioset", "--mode=signal", name, setting] : ["gpioset", "-c", name, setting];
        };
        return Promise.resolve(new GpiodLine(command, high));
      },
    })),
  );
}

/** The folder that the chip is in: `…/soc/fe200000.gpio/gpiochip0`. */
async function deviceOf(root: string, name: string): Promise<string | undefined> {
  const target = await readlink(join(root, "sys/bus/gpio/devices", name)).catch(() => undefined);
  return target === undefined ? undefined : basename(dirname(target));
}

/**
 * The line's consumer in the output of gpioinfo. Version 1 lists a chip's lines: `line 17: "GPIO17" "consumer" output`;
 * version 2 only the line asked for: `gpiochip0 17 "GPIO17" output consumer="consumer"`.
 */
function userOf(text: string, offset: number): string | undefined {
  const first = new RegExp(`line +${offset}: +(?:"[^"]*"|\\S+) +"([^"]+)"`).exec(text);
  const second = /consumer="?([^"\n]+)"?$/m.exec(text);
  return first?.[1] ?? second?.[1];
}

/**
 * Runs a gpioset in a shell that ends it when the agent dies, however that happens: the next agent can't open a line
 * that is still held. The shell leads a group of its own, and kills that as a whole.
 */
const HOLD = '("$@"; kill -KILL 0) & read -r _; kill -KILL 0';

/** One gpioset that holds the line at one level until it is ended. */
interface Holder {
  readonly high: boolean;
  end(): Promise<void>;
}

/**
 * A line that gpioset drives. A gpioset holds one level for as long as it runs, and not all versions can be given
 * another, so each level needs a new one.
 */
class GpiodLine implements GpioLine {
  readonly #command: (high: boolean) => string[];
  #wanted: boolean;
  /** Undefined once the gpioset has ended by itself. */
  #holder: Holder | undefined;
  /** Why the last gpioset failed, until that is thrown. */
  #failure: Failure | undefined;
  #changing: Promise<void> | undefined;

  /** @param command the gpioset that drives the line to a level */
  constructor(command: (high: boolean) => string[], high: boolean) {
    this.#command = command;
    this.#wanted = high;
    this.#hold(high);
  }

  set(high: boolean): void {
    const failure = this.#failure;
    this.#failure = undefined; // the next try may succeed: somebody may have freed the line
    this.#wanted = high;
    if (this.#holder?.high !== high) this.#changing ??= this.#change();
    if (failure !== undefined) throw failure;
  }

  async close(): Promise<void> {
    await this.#changing;
    await this.#holder?.end();
  }

  /** One change at a time, and only the newest waits: a gpioset starts more slowly than levels may change. */
  async #change(): Promise<void> {
    try {
      while (this.#holder?.high !== this.#wanted) {
        await this.#holder?.end();
        this.#hold(this.#wanted);
      }
    } catch (error) {
      this.#failure = new Failure("failed", `gpioset: ${messageOf(error)}`, { cause: error });
    }
    this.#changing = undefined;
  }

  #hold(high: boolean): void {
    const child = spawnGroup("/bin/sh", ["-c", HOLD, "sh", ...this.#command(high)], {
      stdio: ["pipe", "ignore", "pipe"],
    });
    let stderr = "";
    let ending = false;
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr = (stderr + text).slice(-500)));
    child.stdin?.on("error", () => undefined); // it has ended
    const ended = new Promise<void>((resolve) => {
      const finish = (failure: Failure | undefined): void => {
        if (this.#holder === holder) this.#holder = undefined;
        this.#failure = failure ?? this.#failure;
        resolve();
      };
      child.once("error", (error) => {
        finish(new Failure("gpio_unavailable", `/bin/sh: ${error.message}`, { cause: error }));
      });
      child.once("close", () => {
        const failed = !ending || stderr !== "";
        finish(
          failed ? new Failure("gpio_unavailable", stderr.trim() || "gpioset ended by itself") : undefined,
        );
      });
    });
    const holder: Holder = {
      high,
      async end() {
        ending = true;
        signalGroup(child);
        await ended;
      },
    };
    this.#holder = holder;
  }
}
