/** The things that commands share: the configuration, the log on stderr, and the way to the daemon. */
import type { Checked } from "../config/check.ts";
import { loadConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { connectToDaemon, type ControlClient, type ControlClientOptions } from "../control/client.ts";
import { Failure } from "../platform/failure.ts";
import { createLog, type Level, type Log } from "../platform/log.ts";
import { printable } from "../platform/text.ts";
import type { CommandContext } from "./terminal.ts";

/**
 * The configuration and what is doubtful about it.
 * @throws Failure
 */
export async function checkedConfig({ env, config: path }: CommandContext): Promise<Checked> {
  return await loadConfig({ path, env });
}

/**
 * The configuration, with its warnings on stderr.
 * @throws Failure
 */
export async function readConfig(context: CommandContext): Promise<Config> {
  const { config, warnings } = await checkedConfig(context);
  for (const warning of warnings) context.terminal.stderr.write(`hublink: warning: ${printable(warning)}\n`);
  return config;
}

/**
 * The log on stderr, in the configured format.
 * @param level the lowest that is written without --verbose. A command that answers at once logs errors
 * only; one that may take long also logs, as warnings, what holds it up
 */
export function commandLog(
  config: Config,
  { terminal: { stderr }, verbose, world }: CommandContext,
  level: Level,
): Log {
  const { format } = config.log;
  const auto = stderr.isTTY === true ? "text" : "logfmt";
  return createLog({
    level: verbose ? "debug" : level,
    format: format === "auto" ? auto : format,
    now: () => world.clock.now(),
    write: (line) => stderr.write(`${line}\n`),
  });
}

/**
 * Connects to the daemon for a command that needs one.
 * @param remedy what to do when none runs
 * @throws Failure `daemon_unreachable` when none listens
 */
export async function runningDaemon(options: ControlClientOptions, remedy: string): Promise<ControlClient> {
  const daemon = await connectToDaemon(options);
  if (daemon !== undefined) return daemon;
  throw new Failure("daemon_unreachable", `no daemon listens on ${options.path}; ${remedy}`);
}
