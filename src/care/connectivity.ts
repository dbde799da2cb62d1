import { sleep, type Clock } from "../platform/clock.ts";
import { failedEnd, type runCommand } from "../platform/command.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

export interface ConnectivityOptions {
  /** `[connectivity]` */
  readonly config: { readonly afterMs: number; readonly command: string; readonly perDay: number };
  /** Wall-clock ms of the reboots that were made for want of the hub. */
  readonly rebootsMs: readonly number[];
  /** Keeps them over a reboot; resolves to whether they are kept. */
  readonly keep: (rebootsMs: readonly number[]) => Promise<boolean>;
  /** The running firmware is on trial: its deadline says when the board reboots. */
  readonly onTrial: () => boolean;
  /** Connects at once, instead of at the end of a wait. */
  readonly reconnect: () => void;
  readonly reboot: (reason: string) => void;
  readonly clock: Clock;
  readonly runCommand: typeof runCommand;
  readonly log: Log;
}

/** Helps a board that has lost its hub but not its power. */
export interface Connectivity {
  /** How it stands with the hub; to be told of each change, and at the start. */
  note(connected: boolean): void;
  stop(): Promise<void>;
}

/** For a modem to be started anew. */
const COMMAND_TIMEOUT_MS = 300_000;
/** For the connection to come up after the command has brought the network back. */
const COME_UP_MS = 60_000;
const DAY_MS = 86_400_000;

export function createConnectivity(options: ConnectivityOptions): Connectivity {
  const { config, clock, log } = options;
  const afterMs = config.afterMs;
  const stopping = new AbortController();
  /** Is aborted when the hub is there again. */
  let outage: AbortController | undefined;
  let running: Promise<void> = Promise.resolve();
  let { rebootsMs } = options;

  /** Those of the last day; of a clock that was set back meanwhile, of the day to come. */
  const today = (): readonly number[] => rebootsMs.filter((atMs) => Math.abs(clock.now() - atMs) < DAY_MS);

  const runTheCommand = async (): Promise<void> => {
    log.warn("no hub for too long: connectivity.command is run", { after_s: config.afterMs / 1000 });
    try {
      const result = await options.runCommand(config.command, {
        clock,
        timeoutMs: COMMAND_TIMEOUT_MS,
        signal: stopping.signal,
      });
      if (result.exitCode !== 0) log.warn(`connectivity.command ${failedEnd(result, COMMAND_TIMEOUT_MS)}`);
    } catch (error) {
      log.error(`connectivity.command: ${messageOf(error)}`);
    }
  };

  const mayReboot = async (): Promise<boolean> => {
    if (options.onTrial()) {
      log.info("no hub for too long: left to the trial of the running firmware");
      return false;
    }
    const past = today();
    if (past.length >= config.perDay) {
      log.error("no hub for too long, and the board was rebooted for it often enough today", {
        per_day: config.perDay,
      });
      return false;
    }
    const withThis = [...past, clock.now()];
    if (await options.keep(withThis)) {
      rebootsMs = withThis;
      return true;
    }
    log.error("no hub for too long: not rebooted, since nothing would tell the next boot how often it was");
    return false;
  };

  const endure = async (signal: AbortSignal): Promise<void> => {
    for (;;) {
      await sleep(clock, afterMs, signal);
      if (config.command !== "") {
        await runTheCommand();
        signal.throwIfAborted();
        options.reconnect();
        await sleep(clock, Math.min(COME_UP_MS, afterMs), signal);
      }
      const may = await mayReboot();
      signal.throwIfAborted(); // the hub may have come back meanwhile
      if (may) options.reboot(`no hub for ${config.afterMs / 1000} s`);
    }
  };

  return {
    note(connected) {
      if (connected) {
        outage?.abort(new Error("the hub is there"));
        outage = undefined;
      } else if (config.afterMs > 0 && outage === undefined && !stopping.signal.aborted) {
        const lost = (outage = new AbortController());
        const { signal } = lost;
        // One after the other: the command of an outage that is over may still run.
        running = running
          .then(async () => endure(signal))
          .catch((error: unknown) => {
            if (!signal.aborted) log.error(`connectivity: ${messageOf(error)}`);
          });
      }
    },
    async stop() {
      stopping.abort(new Error("the agent stops"));
      outage?.abort(stopping.signal.reason);
      await running;
    },
  };
}
