import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { type Clock, sleep } from "../platform/clock.ts";
import { failedEnd, type runCommand } from "../platform/command.ts";
import { Failure, fileFailure } from "../platform/failure.ts";

/** One way to reboot the board. */
export interface RebootMethod {
  /** As it is logged, such as `reboot -f`. */
  readonly name: string;
  /**
   * Asks for the reboot. It may take effect later, or end this process before it returns.
   * @param timeoutMs when the next method is tried
   * @param signal aborted when the agent has been told to end
   * @throws Failure when it is plain that this way leads nowhere
   */
  attempt(timeoutMs: number, signal: AbortSignal): Promise<void>;
}

/** What the methods act on. */
export interface RebootDeps {
  readonly clock: Clock;
  readonly runCommand: typeof runCommand;
  /** Makes the external watchdog reset the board. @throws Failure when there is none that could */
  readonly resetByGpio: (signal: AbortSignal) => Promise<void>;
  /** The root folder, `/` on a board. */
  readonly root: string;
}

/** The configured methods in their order, and sysrq at last. */
export function rebootMethods(
  config: Pick<Config["reboot"], "methods" | "command">,
  deps: RebootDeps,
): RebootMethod[] {
  const configured = config.methods.flatMap((method) =>
    method === "syscall" ? bySystem(config, deps) : [byGpioWatchdog(deps)],
  );
  return [...configured, bySysrq(deps)];
}

function byGpioWatchdog({ resetByGpio }: RebootDeps): RebootMethod {
  return { name: "gpio-watchdog", attempt: async (_timeoutMs, signal) => resetByGpio(signal) };
}

function bySystem(
  { command }: Pick<Config["reboot"], "methods" | "command">,
  deps: RebootDeps,
): RebootMethod[] {
  const asked = command === "" ? ["reboot"] : command;
  return [byCommand(asked, deps), byCommand(["reboot", "-f"], deps)];
}

function byCommand(command: string | readonly string[], deps: RebootDeps): RebootMethod {
  const name = typeof command === "string" ? command : command.join(" ");
  return {
    name,
    // Without the signal: when the agent is told to end, this command is what the system ends for.
    async attempt(timeoutMs) {
      const result = await deps.runCommand(command, { clock: deps.clock, timeoutMs });
      if (result.exitCode !== 0)
        throw new Failure("command_failed", `${name} ${failedEnd(result, timeoutMs)}`);
    },
  };
}

/** Most time that the kernel is given to sync, then to remount read-only, before it reboots. */
const SYSRQ_PAUSE_MS = 2000;

/**
 * Kernel documentation, admin-guide/sysrq.rst: `s` syncs and `u` remounts read-only, both in the
 * background; `b` reboots at once. The trigger works for root whatever `kernel.sysrq` allows on a keyboard.
 */
function bySysrq({ clock, root }: RebootDeps): RebootMethod {
  const trigger = join(root, "proc/sysrq-trigger");
  return {
    name: "sysrq",
    async attempt(timeoutMs, signal) {
      const pauseMs = Math.min(SYSRQ_PAUSE_MS, timeoutMs / 4);
      press("s", trigger);
      await sleep(clock, pauseMs, signal);
      press("u", trigger);
      await sleep(clock, pauseMs, signal);
      press("b", trigger);
    },
  };
}

/** Synchronous: on a dead disk all of Node's file threads may hang, which this must not wait for. */
function press(key: "s" | "u" | "b", trigger: string): void {
  try {
    const file = openSync(trigger, constants.O_WRONLY | constants.O_APPEND);
    try {
      writeSync(file, key);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw fileFailure("sysrq trigger", trigger, error);
  }
}
