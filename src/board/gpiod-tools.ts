import { spawn } from "node:child_process";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import type { GpioChip, GpioDeps, GpioLine } from "./gpio-chip.ts";

const TIMEOUT_MS = 5000;

/**
 * The chips that libgpiod's tools find, for kernels without GPIO in sysfs.
 * @throws Failure when the tools are missing, or refused
 */
export async function gpiodChips({ clock, runCommand }: GpioDeps): Promise<GpioChip[]> {
  const ask = async (...command: string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await runCommand(command, { clock, timeoutMs: TIMEOUT_MS });
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
  return chips.map(([, name = "", label = "", lines]) => ({
    label,
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
      return Promise.resolve(open(command, high));
    },
  }));
}

/**
 * The consumer in gpioinfo's words. Version 1 lists a chip's lines: `line 17: "GPIO17" "consumer" output`;
 * version 2 the one asked for: `gpiochip0 17 "GPIO17" output consumer="consumer"`.
 */
function userOf(text: string, offset: number): string | undefined {
  const first = new RegExp(`line +${offset}: +(?:"[^"]*"|\\S+) +"([^"]+)"`).exec(text);
  const second = /consumer="?([^"\n]+?)"?$/m.exec(text);
  return first?.[1] ?? second?.[1];
}

/**
 * A gpioset holds the line at its level for as long as it runs, so each level needs a new one: there is
 * no way to tell a running one that all versions have. A shell around it ends it when the agent dies,
 * however that happens, since a line that is held can't be taken by the next agent.
 */
const HOLD = '("$@"; kill -KILL 0) & read -r _; kill -KILL 0';

function open(command: (high: boolean) => string[], high: boolean): GpioLine {
  let end = async (): Promise<void> => Promise.resolve();
  let failed: Failure | undefined;
  let held: boolean | undefined; // nothing once the gpioset has ended by itself
  let wanted = high;
  let changing: Promise<void> | undefined;

  const hold = (level: boolean): void => {
    const child = spawn("/bin/sh", ["-c", HOLD, "sh", ...command(level)], {
      detached: true, // a group of its own, which it kills as a whole
      stdio: ["pipe", "ignore", "pipe"],
    });
    let stderr = "";
    let ending = false;
    held = level;
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr = (stderr + text).slice(-500)));
    child.stdin.on("error", () => undefined); // it has ended
    const ended = new Promise<void>((resolve) => {
      child.once("error", (error) => {
        held = undefined;
        failed = new Failure("gpio_unavailable", `/bin/sh: ${error.message}`, { cause: error });
        resolve();
      });
      child.once("close", () => {
        held = undefined;
        if (!ending || stderr !== "")
          failed = new Failure("gpio_unavailable", stderr.trim() || "gpioset ended by itself");
        resolve();
      });
    });
    end = async () => {
      ending = true;
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch (error) {
        if (systemCode(error) !== "ESRCH") throw error; // ESRCH: it has ended by itself
      }
      await ended;
    };
  };
  hold(wanted);

  /** One change at a time, and only the newest waits: a gpioset takes longer to start than a level may last. */
  const change = async (): Promise<void> => {
    try {
      while (held !== wanted) {
        await end();
        hold(wanted);
      }
    } catch (error) {
      failed = new Failure("failed", `gpioset: ${messageOf(error)}`, { cause: error });
    }
    changing = undefined;
  };

  return {
    set(level) {
      const told = failed;
      failed = undefined; // the line may be free by now
      wanted = level;
      if (held !== wanted) changing ??= change();
      if (told !== undefined) throw told;
    },
    async close() {
      await changing;
      await end();
    },
  };
}
