/**
 * The operator's own rule, `update.policy_command`. Its exit code decides: 0 applies the update, 75 (EX_TEMPFAIL)
 * puts it off, all others ignore it. A command that hangs or is killed puts it off, so that a broken script
 * never installs anything.
 */
import type { World } from "../platform/world.ts";
import { type Decision, SOON_MS } from "./decide.ts";
import type { UpdateQuestion } from "./question.ts";

const TIMEOUT_MS = 60_000;
const EX_TEMPFAIL = 75;
const MINUTE_MS = 60_000;
const MAX_MINUTES = 7 * 24 * 60;
const MAX_REASON_CHARACTERS = 200;

/**
 * Runs the command with the update as JSON on its standard input.
 * @param command line for the shell
 * @param signal kills it
 * @throws Failure when it can't be started; the signal's reason
 */
export async function askPolicyCommand(
  command: string,
  question: UpdateQuestion,
  { clock, run }: Pick<World, "clock" | "run">,
  signal: AbortSignal,
): Promise<Decision> {
  const { exitCode, stdout, stderr, timedOut } = await run(command, {
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
  // Without a number the whole output is the reason, so that a person sees the mistake.
  const words = minutes === undefined ? stdout : rest.join("\n");
  return {
    action: "reschedule",
    delayMs: minutes === undefined ? SOON_MS : Math.min(Math.max(minutes, 1), MAX_MINUTES) * MINUTE_MS,
    reason: oneLine(words) || "update.policy_command says later",
  };
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim().slice(0, MAX_REASON_CHARACTERS);
}
