import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { Failure } from "../platform/failure.ts";

/** Below what an extension's message may take. */
const TIMEOUT_MS = 20_000;
/** Of what it says about its failure, characters. */
const MAX_WORDS = 200;

/**
 * What a line for the shell prints, trimmed.
 * @param setting where the line comes from, for the error
 * @throws Failure `unavailable` when it does not end well
 */
export async function commandOutput(
  command: string,
  setting: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<string> {
  const options = { clock, timeoutMs: TIMEOUT_MS, signal };
  const { exitCode, timedOut, stdout, stderr } = await runCommand(command, options);
  if (timedOut)
    throw new Failure("unavailable", `${setting}: the command took longer than ${TIMEOUT_MS / 1000} s`);
  if (exitCode !== 0) {
    const words = stderr.trim().slice(0, MAX_WORDS);
    const end = `ended with ${exitCode ?? "a signal"}${words === "" ? "" : `: ${words}`}`;
    throw new Failure("unavailable", `${setting}: the command ${end}`);
  }
  return stdout.trim();
}
