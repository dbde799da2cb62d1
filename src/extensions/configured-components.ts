/**
 * The components of the configuration, which are command lines for the shell. Rule: a line comes from the
 * configuration, unchanged, and a value reaches it as the argument `$1`; nothing that the hub sent is ever a part of it.
 */
import type { Config } from "../config/schema.ts";
import type { CommandResult } from "../platform/command.ts";
import { failedEnd } from "../platform/command.ts";
import { Failure } from "../platform/failure.ts";
import { printable, shortened } from "../platform/text.ts";
import type { World } from "../platform/world.ts";
import type { Component, ComponentResult } from "./component.ts";

export interface CommandWorld {
  readonly world: World;
  /** The variables of the commands; they get no others, since the agent's own may hold secrets. */
  readonly environment: () => Readonly<Record<string, string>>;
}

/** The hub takes 8192 characters, each of 4 bytes at most. */
const MAX_OUTPUT_BYTES = 4 * 8192;
/** The value is read for a health report, which others wait for. */
const GET_TIMEOUT_MS = 5000;
const MAX_VALUE_LENGTH = 64;
/** One stream for both outputs keeps them in the order in which they were written. */
const MERGED = ["/bin/sh", "-c", 'exec "$@" 2>&1', "sh"];

/** The components that `[[component]]` declares. */
export function configuredComponents(config: Config["component"], commands: CommandWorld): Component[] {
  return config.map(({ identifier, label, metrics, timeoutMs, action, mode }) => {
    const run = async (line: string, args: readonly string[], signal: AbortSignal) => {
      const shell = [...MERGED, "/bin/sh", "-c", line, "sh", ...args];
      return resultOf(await runLimited(shell, timeoutMs, commands, signal), timeoutMs);
    };
    return {
      ...{ identifier, label, metrics },
      actions: action.map(({ command, ...button }) => ({
        ...button,
        run: async (signal) => run(command, [], signal),
      })),
      modes: mode.map(({ get, set, ...choice }) => ({
        ...choice,
        current: async (signal) => (get === "" ? undefined : readValue(get, commands, signal)),
        set: async (value, signal) => run(set, [value], signal),
      })),
    };
  });
}

async function runLimited(
  command: readonly string[],
  timeoutMs: number,
  { world, environment }: CommandWorld,
  signal: AbortSignal,
): Promise<CommandResult> {
  const limits = { timeoutMs, maxOutputBytes: MAX_OUTPUT_BYTES };
  return world.run(command, {
    ...limits,
    clock: world.clock,
    signal,
    env: environment(),
    inheritEnv: false,
  });
}

function resultOf({ exitCode, timedOut, stdout }: CommandResult, timeoutMs: number): ComponentResult {
  const output = stdout.trimEnd();
  if (exitCode === 0 && !timedOut) return { status: "ok", output };
  const end = timedOut
    ? `ended after ${timeoutMs / 1000} s`
    : exitCode === null
      ? "ended by a signal"
      : `ended with ${exitCode}`;
  // First, since the hub cuts what is too long.
  return { status: "error", output: output === "" ? end : `${end}\n${output}` };
}

/** The first line of the command's output. */
async function readValue(line: string, commands: CommandWorld, signal: AbortSignal): Promise<string> {
  const result = await runLimited(["/bin/sh", "-c", line], GET_TIMEOUT_MS, commands, signal);
  if (result.exitCode !== 0) throw new Failure("command_failed", failedEnd(result, GET_TIMEOUT_MS));
  const [first = ""] = result.stdout.trim().split("\n", 1);
  return shortened(printable(first.trim()), MAX_VALUE_LENGTH);
}
