/**
 * The kernel's watchdog: a device that resets the board unless it is fed. To open it is to arm it, so `check` reads
 * only sysfs. All writes are synchronous: on a dead disk all of Node's file threads may hang, and feeding must
 * not wait for them.
 */
import { accessSync, closeSync, constants, openSync, realpathSync, statSync, writeSync } from "node:fs";
import { basename, join } from "node:path";
import { Failure, fileFailure, messageOf, systemCode } from "../platform/failure.ts";
import { readIfThere } from "../platform/files.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";

/** A watchdog's state in sysfs; a kernel without CONFIG_WATCHDOG_SYSFS shows none of it. */
export interface WatchdogFacts {
  /** Such as `Broadcom BCM2835 Watchdog timer`. */
  readonly identity: string | undefined;
  readonly timeoutS: number | undefined;
  /** It can't be stopped once it was opened. */
  readonly nowayout: boolean;
  /** The last reset came from this watchdog. */
  readonly causedReset: boolean;
}

export interface KernelWatchdogOptions {
  /** Such as `/dev/watchdog`. */
  readonly device: string;
  /** Whether the agent is well enough to feed. */
  readonly mayFeed: () => boolean;
  readonly world: World;
  readonly log: Log;
}

/** The kernel's documentation, watchdog/watchdog-api.rst: any byte feeds, and `V` before the close disarms. */
const FEED = "\0";
const MAGIC_CLOSE = "V";
/** The flag of `bootstatus` for a reset by the watchdog: WDIOF_CARDRESET of linux/watchdog.h */
export const CARD_RESET = 0x20;
/** How often to feed when the timeout is not known; the shortest that drivers have is a few seconds. */
const UNKNOWN_FEED_MS = 1000;

/**
 * Reads a watchdog's state from sysfs.
 * @throws Failure when there is no such device
 */
export async function watchdogFacts(device: string, { root }: World): Promise<WatchdogFacts> {
  let name: string;
  try {
    if (statSync(device).isFile() || statSync(device).isDirectory())
      throw new Failure("watchdog_invalid", `watchdog.device: ${device} is not a device`);
    accessSync(device, constants.W_OK);
    name = basename(realpathSync(device));
  } catch (error) {
    throw error instanceof Failure ? error : openFailure(device, error);
  }
  // /dev/watchdog is the old name of the first watchdog (drivers/watchdog/watchdog_dev.c).
  const folder = join(root, "sys/class/watchdog", name === "watchdog" ? "watchdog0" : name);
  const read = async (file: string): Promise<string | undefined> =>
    (await readIfThere(join(folder, file)))?.trim();
  const timeoutS = Number(await read("timeout"));
  return {
    identity: await read("identity"),
    timeoutS: timeoutS > 0 ? timeoutS : undefined, // false for NaN too
    nowayout: (await read("nowayout")) === "1",
    causedReset: (Number(await read("bootstatus")) & CARD_RESET) !== 0,
  };
}

/** For people: `/dev/watchdog (Broadcom BCM2835 Watchdog timer), 15 s`. */
export function describeWatchdog(device: string, { identity, timeoutS, nowayout }: WatchdogFacts): string {
  const timeout = timeoutS === undefined ? "timeout not known" : `${timeoutS} s`;
  return `${device}${identity === undefined ? "" : ` (${identity})`}, ${timeout}${nowayout ? ", can't be stopped" : ""}`;
}

/** A kernel watchdog that is armed, and resets the board unless it is fed. */
export class KernelWatchdog {
  /** For people: the device, its driver and its timeout. */
  readonly name: string;
  readonly #options: KernelWatchdogOptions;
  readonly #facts: WatchdogFacts;
  readonly #file: number;
  readonly #feedMs: number;
  #problem: string | undefined;
  #cancelFeeding = (): void => undefined;

  private constructor(options: KernelWatchdogOptions, facts: WatchdogFacts, file: number) {
    this.#options = options;
    this.#facts = facts;
    this.#file = file;
    this.#feedMs = facts.timeoutS === undefined ? UNKNOWN_FEED_MS : (facts.timeoutS * 1000) / 3;
    this.name = describeWatchdog(options.device, facts);
  }

  /**
   * Arms the watchdog, and feeds it at a third of its timeout while `mayFeed` allows it. The timeout is the
   * driver's: it is changed by an ioctl, and Node.js has no ioctl.
   * @throws Failure when it can't be opened
   */
  static async open(options: KernelWatchdogOptions): Promise<KernelWatchdog> {
    const { device, world, log } = options;
    const facts = await watchdogFacts(device, world);
    if (facts.causedReset) log.warn("the board was reset by this watchdog", { device });
    const watchdog = new KernelWatchdog(options, facts, openForWriting(device));
    watchdog.#feed();
    const feedS = Math.round(watchdog.#feedMs / 100) / 10;
    log.info("the kernel watchdog is armed", { watchdog: watchdog.name, feed_s: feedS });
    return watchdog;
  }

  /** Disarms it, if the driver allows that. */
  stop(): void {
    this.#cancelFeeding();
    this.#write(MAGIC_CLOSE);
    closeSync(this.#file);
    if (this.#facts.nowayout)
      this.#options.log.warn(
        `${this.#options.device} can't be stopped: it resets the board unless the agent starts again in time`,
      );
  }

  /** Feeds it once more and leaves it armed, so that it ends a shutdown that hangs. */
  leaveArmed(): void {
    this.#cancelFeeding();
    this.#write(FEED);
    closeSync(this.#file);
  }

  #feed(): void {
    if (this.#options.mayFeed()) this.#write(FEED);
    this.#cancelFeeding = this.#options.world.clock.after(this.#feedMs, () => this.#feed());
  }

  #write(bytes: string): void {
    try {
      writeSync(this.#file, bytes);
      this.#problem = undefined;
    } catch (error) {
      const problem = messageOf(error);
      const { device, log } = this.#options;
      if (this.#problem !== problem) log.error(`${device} can't be fed: ${problem}`);
      this.#problem = problem;
    }
  }
}

function openForWriting(device: string): number {
  try {
    return openSync(device, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw openFailure(device, error);
  }
}

function openFailure(device: string, error: unknown): Failure {
  switch (systemCode(error)) {
    case "EBUSY":
      return new Failure(
        "device_busy",
        `watchdog ${device} is in use by another program; only one can feed it`,
        {
          cause: error,
        },
      );
    case "ENXIO":
    case "ENODEV":
      return new Failure("unavailable", `watchdog ${device}: there is no such watchdog; load its driver`, {
        cause: error,
      });
    default:
      return fileFailure("watchdog", device, error);
  }
}
