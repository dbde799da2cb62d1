import { spawn, type SpawnOptions } from "node:child_process";
import type { Clock } from "../platform/clock.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { LineSplitter } from "../platform/text.ts";

/** A longer line ends the command. */
const MAX_LINE_BYTES = 64 * 1024;
/** So long after each piece (64 KiB at most) nothing is read: a flood costs little, and waits in the pipe. */
const PAUSE_MS = 100;

/**
 * Runs a line for the shell and hands over its output line by line, until it ends; in a process group of its
 * own, which `signal` kills.
 * @throws Failure when it can't be started, ends with an error, or writes a line without an end
 */
export async function followLines(
  command: string,
  clock: Clock,
  signal: AbortSignal,
  onLine: (line: string) => void,
): Promise<void> {
  // Not typed as one with streams: when no file descriptor is free, Node makes none.
  const options: SpawnOptions = { detached: true, stdio: ["ignore", "pipe", "ignore"] };
  const child = spawn("/bin/sh", ["-c", command], options);
  const { stdout } = child;
  const kill = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // it has just ended by itself
    }
    stdout?.destroy(); // a daemon that has left the group may hold it open for ever
  };
  let cancelPause = (): void => undefined;
  signal.addEventListener("abort", kill, { once: true });
  if (signal.aborted) kill();
  try {
    await new Promise<void>((resolve, reject) => {
      const fail = (problem: string): void => reject(new Failure("unavailable", problem));
      const lines = new LineSplitter(MAX_LINE_BYTES, onLine, () => {
        fail("it writes a line without an end");
        kill();
      });
      stdout?.on("data", (chunk: Buffer) => {
        lines.push(chunk);
        stdout.pause();
        cancelPause = clock.after(PAUSE_MS, () => stdout.resume());
      });
      child.once("error", (error) => fail(messageOf(error)));
      child.once("close", (exitCode) => {
        if (exitCode === 0) resolve();
        else fail(`it ended with ${exitCode ?? "a signal"}`);
      });
    });
  } finally {
    cancelPause();
    signal.removeEventListener("abort", kill);
  }
}
