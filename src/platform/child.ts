/**
 * Starting a program, and ending it together with everything it started. Each child leads a process group of
 * its own, and the group is signalled: killing a shell alone would leave its pipeline running.
 */
import { type ChildProcess, spawn, type SpawnOptions } from "node:child_process";
import { systemCode } from "./failure.ts";

/**
 * Starts a program as the leader of a process group. The type of the child promises no streams, because Node
 * makes none when no file descriptor is free.
 */
export function spawnGroup(
  program: string,
  args: readonly string[],
  options: SpawnOptions & { readonly detached?: never },
): ChildProcess {
  return spawn(program, args, { ...options, detached: true });
}

/**
 * Signals every process that is left of a child's group, also after the child itself has ended. An empty group
 * is not an error.
 * @throws the system's error when it refuses, such as EPERM for a child that changed its user
 */
export function signalGroup(child: Pick<ChildProcess, "pid">, signal: NodeJS.Signals = "SIGKILL"): void {
  if (child.pid === undefined) return; // it could not be started
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if (systemCode(error) !== "ESRCH") throw error; // ESRCH: nothing of the group is left
  }
}

/**
 * Whether a child has not ended yet. Long after its end the system may have given its number to a stranger's
 * group, so what ends a child at any time asks this first.
 */
export function isRunning(child: Pick<ChildProcess, "exitCode" | "signalCode">): boolean {
  return child.exitCode === null && child.signalCode === null;
}
