/**
 * The ways to reboot the board, each by itself: the external watchdog, the system's `reboot`, and the kernel's sysrq,
 * which needs neither init nor a disk. reboot-sequence.ts tries them in order.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { sleep } from "../platform/clock.ts";
import { failedEnd } from "../platform/command.ts";
import { Failure, fileFailure } from "../platform/failure.ts";
import type { World } from "../platform/world.ts";

/** One way to reboot the board. */
export interface RebootMethod {
  /** As it is logged, such as `reboot -f`. */
  readonly name: string;
  /**
   * Asks for the reboot. It may take effect later, or end this process before it returns.
   * @param timeoutMs when the next method is tried
   * @param signal aborted when the agent is ended
   * @throws Failure when this method can't have an effect
   */
  attempt(timeoutMs: number, signal: AbortSignal): Promise<void>;
}

export interface RebootDeps {
  readonly world: World;
  /** Makes the external watchdog reset the board. @throws Failure when there is none that could */
  readonly resetByGpio: (signal: AbortSignal) => Promise<void>;
}

/** The configured methods in their order, then sysrq. */
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

function byCommand(command: string | readonly string[], { world }: RebootDeps): RebootMethod {
  const { clock, run } = world;
  const name = typeof command === "string" ? command : command.join(" ");
  return {
    name,
    // Without the signal: the system that goes down by this command ends the agent, which must not end the command.
    async attempt(timeoutMs) {
      const result = await run(command, { clock, timeoutMs });
      if (result.exitCode !== 0)
        throw new Failure("command_failed", `${name} ${failedEnd(result, timeoutMs)}`);
    },
  };
}

/** How long the kernel gets at most to sync, and again to remount read-only, before it reboots. */
const SYSRQ_PAUSE_MS = 2000;

/**
 * Kernel documentation, admin-guide/sysrq.rst: `s` syncs and `u` remounts read-only, both in the
 * background; `b` reboots at once. The trigger works for root whatever `kernel.sysrq` allows on a keyboard.
 */
function bySysrq({ world: { clock, root } }: RebootDeps): RebootMethod {
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

/** Synchronous: on a dead disk all of Node's file threads may hang, and this must not wait for them. */
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
