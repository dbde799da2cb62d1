import type { Clock } from "../platform/clock.ts";
import type { runCommand } from "../platform/command.ts";
import type { Decision } from "./engine.ts";
import { SOON_MS, type UpdateQuestion } from "./question.ts";

export interface PolicyOptions {
  readonly clock: Clock;
  readonly runCommand: typeof runCommand;
  /** Kills it. */
  readonly signal: AbortSignal;
}

const TIMEOUT_MS = 60_000;
const EX_TEMPFAIL = 75;
const MINUTE_MS = 60_000;
const MAX_MINUTES = 7 * 24 * 60;
const MAX_REASON_CHARACTERS = 200;

/**
 * Asks `update.policy_command`, which gets the update as JSON on its standard input.
 * @param command line for the shell
 * @throws Failure when it can't be started; the signal's reason
 */
export async function askPolicyCommand(
  command: string,
  question: UpdateQuestion,
  { clock, runCommand, signal }: PolicyOptions,
): Promise<Decision> {
  const { exitCode, stdout, stderr, timedOut } = await runCommand(command, {
    clock,
    timeoutMs: TIMEOUT_MS,
    stdin: `${JSON.stringify(question)}\n`,
    signal,
  });
  signal.throwIfAborted();
  if (exitCode === 0) return { action: "apply" };
  if (timedOut || exitCode === null) {
    const what = timedOut ? `gave no answer in ${TIMEOUT_MS / 1000} s` : "was killed";
    return { action: "reschedule", delayMs: SOON_MS, reason: `update.policy_command ${what}` };
  }
  if (exitCode !== EX_TEMPFAIL) {
    const reason = oneLine(stdout) || oneLine(stderr) || `update.policy_command ended with ${exitCode}`;
    return { action: "ignore", reason };
  }
  const [first = "", ...rest] = stdout.trim().split("\n");
  const minutes = /^\d{1,6}$/.test(first.trim()) ? Number(first) : undefined;
  // Without a number all of it is the reason: a person finds the mistake by it.
  const said = minutes === undefined ? stdout : rest.join("\n");
  return {
    action: "reschedule",
    delayMs: minutes === undefined ? SOON_MS : Math.min(Math.max(minutes, 1), MAX_MINUTES) * MINUTE_MS,
    reason: oneLine(said) || "update.policy_command says later",
  };
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim().slice(0, MAX_REASON_CHARACTERS);
}
