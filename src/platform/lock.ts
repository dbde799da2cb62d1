/**
 * A lock on a file, folder or device: the kernel's own, flock(2). The kernel frees it when the process ends, however
 * it ends, so there is no stale lock to take over; and it sits on what is locked, whatever its path. Node can't ask
 * for one, but such a lock belongs to the open file: flock(1) takes it on a file that it inherits, and ends.
 */
import { type FileHandle, open } from "node:fs/promises";
import type { Clock } from "./clock.ts";
import { runCommand } from "./command.ts";
import { messageOf } from "./failure.ts";
import type { Log } from "./log.ts";

/** A lock that this process holds until it releases it or ends. No child inherits it. */
export class Lock {
  readonly #file: FileHandle | undefined;

  /** @param file undefined where the system can't lock */
  constructor(file: FileHandle | undefined) {
    this.#file = file;
  }

  async release(): Promise<void> {
    await this.#file?.close();
  }
}

const TIMEOUT_MS = 10_000;

/** flock(1) of util-linux and of BusyBox ends with this when another one holds the lock. */
const HELD = 1;

/**
 * Locks a path, at once or not at all. Where the system can't lock (no flock(1), a path that can't be opened), the
 * log says so and the work goes on as if it could: a board must not lose its agent for that.
 * @returns undefined when another process holds the lock
 */
export async function lock(path: string, clock: Clock, log: Log): Promise<Lock | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, "r");
    const command = ["flock", "-n", "3"];
    const { exitCode, stderr } = await runCommand(command, {
      clock,
      timeoutMs: TIMEOUT_MS,
      files: [file.fd],
    });
    if (exitCode === 0) return new Lock(file);
    if (exitCode !== HELD)
      throw new Error(`flock: ${stderr.trim() || `ended with ${exitCode ?? "a signal"}`}`);
  } catch (error) {
    await file?.close();
    log.warn(`${path} can't be locked against a second hublink: ${messageOf(error)}`);
    return new Lock(undefined);
  }
  await file.close();
  return undefined;
}
