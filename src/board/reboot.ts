/**
 * One reboot from beginning to end: report to the hub, end the children, sync the disks, then try each method until
 * the board goes down: the external watchdog, the system's `reboot`, and the kernel's sysrq, which needs neither init
 * nor a disk. Each step has a time limit: a dead link, a disk that hangs or a `reboot` that never returns once kept
 * boards up for ever.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { sleep } from "../platform/clock.ts";
import { failedEnd } from "../platform/command.ts";
import { Failure, fileFailure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";

/** How long a reboot waits for the hub to have read the last messages. */
const FLUSH_MS = 2000;

export interface RebootOptions {
  /** Why, for the log: `the update is installed`. */
  readonly reason: string;
  /** Tried in this order. */
  readonly methods: readonly RebootMethod[];
  /** For `flush`, the children and the disks together: a dead link or disk can't hold the reboot longer. */
  readonly graceMs: number;
  /** How long a method has until the next one is tried. */
  readonly escalateMs: number;
  /** Reports to the hub, and waits at most `timeoutMs` for that to be read. */
  readonly flush: (timeoutMs: number) => Promise<void>;
  /** Ends the agent's children, so that they have written everything before the disks are synced. */
  readonly endChildren: () => Promise<void>;
  /** Called before a method is tried. */
  readonly onMethod: (name: string) => void;
  readonly world: World;
  readonly log: Log;
  /** Aborted when the agent is ended: then the system goes down, or somebody decided otherwise. */
  readonly signal: AbortSignal;
}

/**
 * Reboots the board. Returns only when `signal` is aborted.
 * @throws Failure `other` when the board is still up after the last method
 */
export async function reboot(options: RebootOptions): Promise<void> {
  const { reason, methods, log, signal } = options;
  log.warn("rebooting the board", { reason });
  try {
    await settle(options);
    for (const method of methods) await tryMethod(method, options);
  } catch (error) {
    if (signal.aborted) return;
    throw error;
  }
  throw new Failure("reboot_failed", "the board is still up after every way to reboot it; cut its power");
}

/** Gets the last messages to the hub and the last writes to the disks. */
async function settle(options: RebootOptions): Promise<void> {
  const { graceMs, flush, log, world } = options;
  const { clock, run } = world;
  const end = clock.monotonic() + graceMs;
  const flushMs = Math.min(FLUSH_MS, graceMs);
  await bounded("telling the hub", flushMs, async () => flush(flushMs), options);
  const leftMs = (): number => end - clock.monotonic();
  await bounded("ending what runs", leftMs() / 2, options.endChildren, options);
  const sync = async (): Promise<void> => {
    // A second more than bounded() waits: it has logged the timeout when the child is killed.
    const { exitCode, timedOut } = await run(["sync"], { clock, timeoutMs: leftMs() + 1000 });
    if (exitCode !== 0 && !timedOut) log.error("syncing the disks failed", { exit: exitCode });
  };
  await bounded("syncing the disks", leftMs(), sync, options);
}

async function tryMethod(method: RebootMethod, options: RebootOptions): Promise<void> {
  const { escalateMs, log, signal } = options;
  const { clock } = options.world;
  const end = clock.monotonic() + escalateMs;
  signal.throwIfAborted();
  log.warn("trying to reboot", { method: method.name });
  options.onMethod(method.name);
  const asked = await bounded(
    method.name,
    escalateMs,
    async () => method.attempt(escalateMs, signal),
    options,
  );
  if (!asked) return;
  await sleep(clock, end - clock.monotonic(), signal);
  log.error("the board is still up", { method: method.name, after_s: escalateMs / 1000 });
}

/**
 * Waits for some work, but no longer than `timeoutMs`; its failure is logged.
 * @returns whether it succeeded in time
 * @throws the signal's reason when it is aborted
 */
async function bounded(
  what: string,
  timeoutMs: number,
  work: () => Promise<void>,
  { world, log, signal }: RebootOptions,
): Promise<boolean> {
  const done = new AbortController();
  try {
    return await Promise.race([
      work().then(() => true),
      sleep(world.clock, timeoutMs, AbortSignal.any([signal, done.signal])).then(() => {
        log.error(`${what} takes too long`, { timeout_s: timeoutMs / 1000 });
        return false;
      }),
    ]);
  } catch (error) {
    signal.throwIfAborted();
    log.error(`${what} failed: ${messageOf(error)}`);
    return false;
  } finally {
    done.abort();
  }
}

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
 * background; `b` reboots at once. The trigger works for root even if `kernel.sysrq` forbids it on a keyboard.
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
