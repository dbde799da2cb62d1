/**
 * An LED of the board (Documentation/leds/leds-class.rst in the kernel), which blinks to show which board this is.
 * The kernel forgets a trigger's settings when the trigger changes, so they are read before and written back after.
 */
import { constants } from "node:fs";
import { access, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { sleep } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import type { World } from "../platform/world.ts";

/** How long it is on, and off: two blinks a second, unlike any heartbeat. */
const HALF_PERIOD_MS = 250;
/** Files that every LED has; the others are its trigger's settings. */
const COMMON = new Set(["brightness", "brightness_hw_changed", "max_brightness", "trigger", "uevent"]);

export class Led {
  /** The kernel's name for it. */
  readonly name: string;
  readonly #folder: string;
  readonly #world: World;

  private constructor(name: string, folder: string, world: World) {
    this.name = name;
    this.#folder = folder;
    this.#world = world;
  }

  /** @throws Failure that names the LED and those that are there, or why it can't be written */
  static async open(name: string, world: World): Promise<Led> {
    const leds = join(world.root, "sys/class/leds");
    const folder = join(leds, name);
    try {
      await access(join(folder, "brightness"), constants.W_OK);
      await access(join(folder, "trigger"), constants.W_OK);
    } catch (error) {
      if (systemCode(error) === "ENOENT") throw await unknownLed(name, leds);
      throw ledFailure(name, error);
    }
    return new Led(name, folder, world);
  }

  /**
   * Blinks for a time, then puts back what the LED did before; also when the signal ends it early.
   * @throws Failure when it can't be written
   */
  async blink(forMs: number, signal: AbortSignal): Promise<void> {
    const on = await this.#read("max_brightness");
    const putBack = await this.#takeOver();
    try {
      for (let spentMs = 0; spentMs < forMs; spentMs += HALF_PERIOD_MS) {
        await this.#write("brightness", spentMs % (2 * HALF_PERIOD_MS) === 0 ? on : "0");
        const leftMs = Math.min(HALF_PERIOD_MS, forMs - spentMs);
        await sleep(this.#world.clock, leftMs, signal).catch(() => undefined); // aborted: see the next line
        if (signal.aborted) break;
      }
    } finally {
      await putBack();
    }
  }

  /** Turns the trigger off. @returns what puts everything back */
  async #takeOver(): Promise<() => Promise<void>> {
    const trigger = activeTrigger(await this.#read("trigger"));
    const brightness = await this.#read("brightness");
    const settings = trigger === "none" ? [] : await triggerSettings(this.#folder);
    await this.#write("trigger", "none");
    return async () => {
      if (trigger === "none") {
        await this.#write("brightness", brightness);
        return;
      }
      await this.#write("trigger", trigger);
      // Some settings can only be read, or not written at all times; the LED works without them.
      for (const [file, text] of settings)
        await writeFile(join(this.#folder, file), text).catch(() => undefined);
    };
  }

  async #read(file: string): Promise<string> {
    return (await readFile(join(this.#folder, file), "utf8")).trim();
  }

  async #write(file: string, text: string): Promise<void> {
    try {
      await writeFile(join(this.#folder, file), text);
    } catch (error) {
      throw ledFailure(this.name, error);
    }
  }
}

/** The kernel lists all triggers, and puts the active one in brackets. */
function activeTrigger(list: string): string {
  return /\[([^[\]]+)\]/.exec(list)?.[1] ?? "none";
}

async function triggerSettings(folder: string): Promise<[file: string, text: string][]> {
  const settings: [string, string][] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isFile() || COMMON.has(entry.name)) continue;
    try {
      settings.push([entry.name, await readFile(join(folder, entry.name), "utf8")]);
    } catch {
      // It can only be written, such as the file `shot` of the trigger "oneshot": there is nothing to keep.
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
