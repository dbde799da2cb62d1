import { sleep, type Clock } from "../platform/clock.ts";
import type { runCommand } from "../platform/command.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

/** `[validation]` */
export interface ValidationConfig {
  readonly mode: "auto" | "manual";
  /** Line for the shell that must succeed; empty for none. */
  readonly command: string;
  readonly deadlineMs: number;
}

export interface ValidationOptions {
  readonly config: ValidationConfig;
  /** Whether the running slot still has to be proven. */
  readonly pending: boolean;
  /** Marks the running slot good on the disk. */
  readonly validate: () => Promise<void>;
  /** The slot has been marked good. */
  readonly onValidated: () => void;
  /** The deadline passed: the board must reboot, so that its boot loader falls back. */
  readonly onDeadline: () => void;
  readonly clock: Clock;
  readonly runCommand: typeof runCommand;
  readonly log: Log;
}

/** Proves the running slot good, or lets it fall. */
export interface Validation {
  readonly pending: boolean;
  /** Since the time was over in which the slot had to prove good, ms; undefined when it is not. */
  readonly overForMs: number | undefined;
  /** The hub was joined: in mode `auto` the slot is good if the command says so too. */
  joined(): void;
  /** Somebody who knows says that the slot is good. */
  markValid(): Promise<void>;
  stop(): Promise<void>;
}

/** Between two tries of a command that has not succeeded. */
const RETRY_MS = 10_000;
const COMMAND_TIMEOUT_MS = 60_000;

export function createValidation(options: ValidationOptions): Validation {
  const { config, clock, log } = options;
  const ending = new AbortController();
  let pending = options.pending;
  let proving: Promise<void> | undefined;
  let overMs: number | undefined;
  let cancelDeadline = (): void => undefined;

  const markValid = async (): Promise<void> => {
    if (!pending) return;
    await options.validate();
    pending = false;
    overMs = undefined;
    cancelDeadline();
    ending.abort(new Error("validated"));
    log.info("the running firmware is marked good");
    options.onValidated();
  };

  const commandSucceeds = async (): Promise<boolean> => {
    if (config.command === "") return true;
    const result = await options.runCommand(config.command, {
      clock,
      timeoutMs: COMMAND_TIMEOUT_MS,
      signal: ending.signal,
    });
    if (result.exitCode === 0) return true;
    log.warn("validation.command says that the firmware is not good yet", {
      exit: result.exitCode,
      output: (result.stderr || result.stdout).trim().slice(0, 200),
    });
    return false;
  };

  const prove = async (): Promise<void> => {
    while (!ending.signal.aborted) {
      try {
        if (await commandSucceeds()) {
          await markValid();
          return;
        }
      } catch (error) {
        log.error(`validating the running firmware failed: ${messageOf(error)}`);
      }
      await sleep(clock, RETRY_MS, ending.signal).catch(() => undefined); // ended: the loop sees it
    }
  };

  if (pending) {
    log.info("the running firmware is not marked good yet", {
      mode: config.mode,
      deadline_s: config.deadlineMs / 1000,
    });
    cancelDeadline = clock.after(config.deadlineMs, () => {
      log.error("the running firmware was not marked good in time", { deadline_s: config.deadlineMs / 1000 });
      overMs = clock.monotonic();
      options.onDeadline();
    });
  }

  return {
    get pending() {
      return pending;
    },
    get overForMs() {
      return overMs === undefined ? undefined : clock.monotonic() - overMs;
    },
    joined() {
      if (pending && config.mode === "auto") proving ??= prove();
    },
    markValid,
    async stop() {
      cancelDeadline();
      ending.abort(new Error("the agent stops"));
      await proving;
    },
  };
}
