/**
 * A command whose output is read line by line for as long as it runs, such as `logread -f`. It is read in steps: a
 * command that floods then waits in its pipe instead of using the board's only core.
 */
import { addAbortListener } from "node:events";
import { signalGroup, spawnGroup } from "../platform/child.ts";
import type { Clock } from "../platform/clock.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { LineSplitter } from "../platform/text.ts";

/** A longer line ends the command. */
const MAX_LINE_BYTES = 64 * 1024;
/** Pause after each chunk (64 KiB at most). */
const PAUSE_MS = 100;

/**
 * Runs a shell command line and passes on its output line by line, until it ends. `signal` kills it with
 * everything it started.
 * @throws Failure `command_failed` when it can't be started, ends with an error, or writes a line without an end
 */
export async function followLines(
  command: string,
  clock: Clock,
  signal: AbortSignal,
  onLine: (line: string) => void,
): Promise<void> {
  const child = spawnGroup("/bin/sh", ["-c", command], { stdio: ["ignore", "pipe", "ignore"] });
  const { stdout } = child;
  let cancelPause = (): void => undefined;
  let fail: (problem: string) => void = () => undefined;
  const kill = (): void => {
    try {
      signalGroup(child);
    } catch (error) {
      fail(messageOf(error)); // EPERM: it has changed its user
    }
    stdout?.destroy(); // a daemon that has left the group may hold it open for ever
  };
  using _listener = addAbortListener(signal, kill);
  try {
    await new Promise<void>((resolve, reject) => {
      fail = (problem) => reject(new Failure("command_failed", problem));
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
  }
}
