import { reboot } from "../board/reboot.ts";
import { rebootMethods, type RebootConfig } from "../board/reboot-methods.ts";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

export interface RebooterOptions {
  /** `[reboot]` */
  readonly config: RebootConfig & { readonly grace_s: number; readonly escalate_s: number };
  /** What has to be over first, such as a slot being written. */
  readonly beforehand: () => Promise<void>;
  readonly tellHub: (timeoutMs: number) => Promise<void>;
  /** Ends what the agent runs, such as a command. */
  readonly endChildren: () => Promise<void>;
  /** Keeps for the next boot why this one ends. */
  readonly note: (reason: string, method: string | null) => Promise<void>;
  readonly resetByGpio: (signal: AbortSignal) => Promise<void>;
  readonly root: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Reboots the board, once for all who ask. */
export interface Rebooter {
  readonly rebooting: boolean;
  /** Every way to reboot has been tried, and the board is still up. */
  readonly failed: boolean;
  reboot(reason: string): void;
  /** The agent is told to end, as it is when the reboot takes effect. */
  stop(): Promise<void>;
}

/** The hub's last words wait no longer for its answer. */
const FLUSH_MS = 2000;

export function createRebooter(options: RebooterOptions): Rebooter {
  const { config, clock, log, root, resetByGpio } = options;
  const methods = rebootMethods(config, { clock, runCommand, root, resetByGpio });
  const stopping = new AbortController();
  let under: Promise<void> | undefined;
  let failed = false;

  const run = async (reason: string): Promise<void> => {
    try {
      await options.beforehand();
      if (stopping.signal.aborted) return;
      await options.note(reason, null);
      await reboot({
        reason,
        methods,
        graceMs: config.grace_s * 1000,
        escalateMs: config.escalate_s * 1000,
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
    reboot(reason) {
      under ??= run(reason);
    },
    async stop() {
      stopping.abort(new Error("the agent stops"));
      await under;
    },
  };
}
