/**
 * Starting a program and ending it with all that it started. Each child leads a process group of its own:
 * killed alone, a shell would leave its pipeline behind, and an fwup its decompressor.
 */
import { type ChildProcess, spawn, type SpawnOptions } from "node:child_process";
import { systemCode } from "./failure.ts";

/**
 * Starts a program as the leader of a process group.
 *
 * The child is not typed as one with streams: when no file descriptor is free, Node makes none.
 */
export function spawnGroup(
  program: string,
  args: readonly string[],
  options: SpawnOptions & { readonly detached?: never },
): ChildProcess {
  return spawn(program, args, { ...options, detached: true });
}

/**
 * Signals a child and everything that is left of its group; one that has already ended is fine.
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
