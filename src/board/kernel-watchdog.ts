import { accessSync, closeSync, constants, openSync, realpathSync, statSync, writeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { Clock } from "../platform/clock.ts";
import { Failure, fileFailure, messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

/** What the kernel says of a watchdog in sysfs; a kernel without CONFIG_WATCHDOG_SYSFS says nothing. */
export interface WatchdogFacts {
  /** Such as `Broadcom BCM2835 Watchdog timer`. */
  readonly identity: string | undefined;
  readonly timeoutS: number | undefined;
  /** It can't be stopped once it was opened. */
  readonly nowayout: boolean;
  /** The last reset was its doing. */
  readonly causedReset: boolean;
}

/** A kernel watchdog that runs, and resets the board unless it is fed. */
export interface KernelWatchdog {
  readonly name: string;
  /** Disarms it, where it can be. */
  stop(): void;
  /** Ends with one last feeding and leaves it armed, so that a shutdown that hangs is ended by it. */
  leaveArmed(): void;
}

export interface KernelWatchdogOptions {
  /** Such as `/dev/watchdog`. */
  readonly device: string;
  /** The root folder, `/` on a board: where sysfs is. */
  readonly root: string;
  /** Whether the agent is well enough to feed. */
  readonly mayFeed: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

/** The kernel's documentation, watchdog/watchdog-api.rst: any byte feeds, and `V` before the close disarms. */
const FEED = "\0";
const MAGIC_CLOSE = "V";
/** WDIOF_CARDRESET of linux/watchdog.h */
const CARD_RESET = 0x20;
/** Where the timeout is not known; the shortest that drivers have is a few seconds. */
const UNKNOWN_FEED_MS = 1000;

/**
 * Reads what sysfs says, without opening the device, which would arm it.
 * @throws Failure when there is no such device
 */
export async function watchdogFacts(device: string, root: string): Promise<WatchdogFacts> {
  let name: string;
  try {
    if (statSync(device).isFile() || statSync(device).isDirectory())
      throw new Failure("watchdog_invalid", `watchdog.device: ${device} is not a device`);
    accessSync(device, constants.W_OK);
    name = basename(realpathSync(device));
  } catch (error) {
    throw error instanceof Failure ? error : openFailure(device, error);
  }
  // /dev/watchdog is the first one under its old name (drivers/watchdog/watchdog_dev.c).
  const folder = join(root, "sys/class/watchdog", name === "watchdog" ? "watchdog0" : name);
  const read = async (file: string): Promise<string | undefined> => {
    try {
      return (await readFile(join(folder, file), "utf8")).trim();
    } catch (error) {
      if (systemCode(error) === undefined) throw error;
      return undefined;
    }
  };
  const timeoutS = Number(await read("timeout"));
  return {
    identity: await read("identity"),
    timeoutS: timeoutS > 0 ? timeoutS : undefined, // false for NaN, too
    nowayout: (await read("nowayout")) === "1",
    causedReset: (Number(await read("bootstatus")) & CARD_RESET) !== 0,
  };
}

/** `/dev/watchdog (Broadcom BCM2835 Watchdog timer), 15 s` */
export function describeWatchdog(device: string, { identity, timeoutS, nowayout }: WatchdogFacts): string {
  const timeout = timeoutS === undefined ? "timeout not known" : `${timeoutS} s`;
  return `${device}${identity === undefined ? "" : ` (${identity})`}, ${timeout}${nowayout ? ", can't be stopped" : ""}`;
}

/**
 * Opens the watchdog, which arms it, and feeds it at a third of its timeout while `mayFeed` says so.
 * The timeout is the driver's: to change it takes an ioctl, which Node.js has not.
 * @throws Failure when it can't be opened
 */
export async function openKernelWatchdog(options: KernelWatchdogOptions): Promise<KernelWatchdog> {
  const { device, clock, log } = options;
  const facts = await watchdogFacts(device, options.root);
  if (facts.causedReset) log.warn("the board was reset by this watchdog", { device });
  const name = describeWatchdog(device, facts);
  const feedMs = facts.timeoutS === undefined ? UNKNOWN_FEED_MS : (facts.timeoutS * 1000) / 3;
  let cancel = (): void => undefined;
  let file: number;
  try {
    file = openSync(device, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw openFailure(device, error);
  }
  let problem: string | undefined;

  /** Synchronous: on a dead disk all of Node's file threads may hang, which this must not wait for. */
  const write = (bytes: string): void => {
    try {
      writeSync(file, bytes);
      problem = undefined;
    } catch (error) {
      if (problem !== messageOf(error)) log.error(`${device} can't be fed: ${messageOf(error)}`);
      problem = messageOf(error);
    }
  };
  const feed = (): void => {
    if (options.mayFeed()) write(FEED);
    cancel = clock.after(feedMs, feed);
  };
  feed();
  log.info("the kernel watchdog is armed", { watchdog: name, feed_s: Math.round(feedMs / 100) / 10 });

  return {
    name,
    stop() {
      cancel();
      write(MAGIC_CLOSE);
      closeSync(file);
      if (facts.nowayout)
        log.warn(`${device} can't be stopped: it resets the board unless the agent starts again in time`);
    },
    leaveArmed() {
      cancel();
      write(FEED);
      closeSync(file);
    },
  };
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
