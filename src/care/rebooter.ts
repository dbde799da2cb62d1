import { type RebootConfig, rebootMethods } from "../board/reboot-methods.ts";
import { reboot } from "../board/reboot.ts";
import { type Clock, within } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { Updater } from "../update/updater.ts";

export interface RebooterOptions {
  /** `[reboot]` */
  readonly config: RebootConfig & { readonly graceMs: number; readonly escalateMs: number };
  /** What has to be over first, such as a slot being written. */
  readonly beforehand: () => Promise<void>;
  readonly tellHub: (timeoutMs: number) => Promise<void>;
  /** Ends what the agent runs, such as a command. */
  readonly endChildren: () => Promise<void>;
  /** Keeps for the next boot why this one ends. */
  readonly note: (reason: string, method: string | null) => Promise<void>;
  readonly resetByGpio: (signal: AbortSignal) => Promise<void>;
  /** A watchdog is armed, which is starved when all ways have failed. */
  readonly watchdogArmed: () => boolean;
  readonly root: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Reboots the board, once for all who ask. */
export interface Rebooter {
  readonly rebooting: boolean;
  /** Every way to reboot has been tried, and the board is still up. */
  readonly failed: boolean;
  /**
   * Resolves when that is so, and no watchdog has reset the board either. What the agent did is over by
   * then, for the reboot's sake: another agent is needed, for people to reach the board through.
   */
  readonly stranded: Promise<void>;
  reboot(reason: string): void;
  /** The agent is told to end, as it is when the reboot takes effect. */
  stop(): Promise<void>;
}

/** The hub's last words wait no longer for its answer. */
const FLUSH_MS = 2000;
/** More than a starved watchdog takes: the longest usual time-out is four minutes (those of x86 boards). */
const STARVED_MS = 300_000;

export function createRebooter(options: RebooterOptions): Rebooter {
  const { config, clock, log, root, resetByGpio } = options;
  const methods = rebootMethods(config, { clock, runCommand, root, resetByGpio });
  const stopping = new AbortController();
  let under: Promise<void> | undefined;
  let failed = false;
  let strand = (): void => undefined;
  const stranded = new Promise<void>((resolve) => (strand = resolve));
  let cancelStrand = (): void => undefined;

  const run = async (reason: string): Promise<void> => {
    try {
      await options.beforehand();
      if (stopping.signal.aborted) return;
      await options.note(reason, null);
      await reboot({
        reason,
        methods,
        graceMs: config.graceMs,
        escalateMs: config.escalateMs,
        flush: async () => options.tellHub(FLUSH_MS),
        endChildren: options.endChildren,
        onMethod: (method) => void options.note(reason, method), // of which only the log may fail to hear
        clock,
        log,
        runCommand,
        signal: stopping.signal,
      });
    } catch (error) {
      log.error(messageOf(error));
      failed = true;
      cancelStrand();
      cancelStrand = clock.after(options.watchdogArmed() ? STARVED_MS : 0, strand);
    } finally {
      under = undefined;
    }
  };

  return {
    get rebooting() {
      return under !== undefined;
    },
    get failed() {
      return failed;
    },
    stranded,
    reboot(reason) {
      if (!stopping.signal.aborted) under ??= run(reason);
    },
    async stop() {
      stopping.abort(new Error("the agent stops"));
      await under;
      cancelStrand();
    },
  };
}

/** An update that makes no step for so long waits for its network, or hangs. */
const STILL_MS = 60_000;
const LOOK_MS = 5000;

/**
 * Waits before a reboot for the update under way, as long as it goes on. One that stands still is left:
 * it is in the other slot, which is invalid until the last byte is written, and begins anew after the boot.
 */
export async function awaitUpdate(updater: Updater, clock: Clock, log: Log): Promise<void> {
  const stillForMs = (): number | undefined => updater.status.stillForMs;
  // Of one that is being decided nothing is written, and an answer that comes now finds the board rebooting.
  if (stillForMs() === undefined || updater.status.state === "deciding") return;
  log.warn("the reboot waits for the update under way");
  const settled = updater.settled().then(() => true);
  while (!(await within(clock, LOOK_MS, settled, false))) {
    if ((stillForMs() ?? 0) < STILL_MS) continue;
    log.warn("the reboot waits no longer for the update: it stands still", { for_s: STILL_MS / 1000 });
    return;
  }
}
