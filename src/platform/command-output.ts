import type { Clock } from "./clock.ts";
import { failedEnd, runCommand } from "./command.ts";
import { Failure } from "./failure.ts";

/** Below what an extension's message may take. */
const TIMEOUT_MS = 20_000;

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
  const result = await runCommand(command, { clock, timeoutMs: TIMEOUT_MS, signal });
  if (result.exitCode === 0) return result.stdout.trim();
  throw new Failure("unavailable", `${setting}: the command ${failedEnd(result, TIMEOUT_MS)}`);
}
