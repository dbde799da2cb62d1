import { constants } from "node:fs";
import { access, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { sleep, type Clock } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";

export interface LedDeps {
  /** The root folder, `/` on a board. */
  readonly root: string;
  readonly clock: Clock;
}

/** An LED that the kernel shows (Documentation/leds/leds-class.rst). */
export interface Led {
  /** How the kernel names it. */
  readonly name: string;
  /**
   * Blinks for that long, then does again what it did before; also when the signal ends it early.
   * @throws Failure when it can't be written
   */
  blink(forMs: number, signal: AbortSignal): Promise<void>;
}

/** On for so long, and off for so long: two blinks a second, which no heartbeat looks like. */
const HALF_PERIOD_MS = 250;
/** What every LED has; all other files are its trigger's settings, which are lost with the trigger. */
const COMMON = new Set(["brightness", "brightness_hw_changed", "max_brightness", "trigger", "uevent"]);

/** @throws Failure naming the LED and the ones that are there, or what keeps it from being written */
export async function openLed(name: string, { root, clock }: LedDeps): Promise<Led> {
  const leds = join(root, "sys/class/leds");
  const folder = join(leds, name);
  const path = (file: string): string => join(folder, file);
  const read = async (file: string): Promise<string> => (await readFile(path(file), "utf8")).trim();
  const write = async (file: string, text: string): Promise<void> => {
    try {
      await writeFile(path(file), text);
    } catch (error) {
      throw ledFailure(name, error);
    }
  };

  try {
    await access(path("brightness"), constants.W_OK);
    await access(path("trigger"), constants.W_OK);
  } catch (error) {
    if (systemCode(error) === "ENOENT") throw await unknownLed(name, leds);
    throw ledFailure(name, error);
  }

  /** @returns what puts things back */
  const takeOver = async (): Promise<() => Promise<void>> => {
    const trigger = activeTrigger(await read("trigger"));
    const brightness = await read("brightness");
    const settings = trigger === "none" ? [] : await triggerSettings(folder);
    await write("trigger", "none");
    return async () => {
      if (trigger === "none") {
        await write("brightness", brightness);
        return;
      }
      await write("trigger", trigger);
      // Some can only be read, or not at all times; the LED works without.
      for (const [file, text] of settings) await writeFile(path(file), text).catch(() => undefined);
    };
  };

  return {
    name,
    async blink(forMs, signal) {
      const on = await read("max_brightness");
      const putBack = await takeOver();
      try {
        for (let spentMs = 0; spentMs < forMs; spentMs += HALF_PERIOD_MS) {
          await write("brightness", spentMs % (2 * HALF_PERIOD_MS) === 0 ? on : "0");
          await sleep(clock, Math.min(HALF_PERIOD_MS, forMs - spentMs), signal).catch(() => undefined);
          if (signal.aborted) break;
        }
      } finally {
        await putBack();
      }
    },
  };
}

/** The kernel lists all triggers, and puts the active one in brackets. */
function activeTrigger(list: string): string {
  return /\[(.+?)\]/.exec(list)?.[1] ?? "none";
}

async function triggerSettings(folder: string): Promise<[file: string, text: string][]> {
  const settings: [string, string][] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isFile() || COMMON.has(entry.name)) continue;
    try {
      settings.push([entry.name, await readFile(join(folder, entry.name), "utf8")]);
    } catch {
      // One that can only be written, such as a shot of the trigger "oneshot": nothing to keep.
    }
  }
  return settings;
}

async function unknownLed(name: string, leds: string): Promise<Failure> {
  const names = await readdir(leds).catch(() => []); // a kernel without LEDs has none
  const there = names.length === 0 ? "this kernel shows none" : `there are: ${names.toSorted().join(", ")}`;
  return new Failure("led_missing", `no LED ${name}; ${there}`);
}

function ledFailure(name: string, error: unknown): Failure {
  const code = systemCode(error);
  return code === "EACCES" || code === "EPERM"
    ? new Failure(
        "permission",
        `the LED ${name}: permission denied; run as root, or give the agent's group its brightness and trigger`,
        { cause: error },
      )
    : new Failure("io", `the LED ${name} can't be written: ${messageOf(error)}`, { cause: error });
}
