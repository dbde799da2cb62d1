import type { Checked } from "../config/check.ts";
import type { Config } from "../config/schema.ts";
import { loadConfig } from "../config/load.ts";
import { createLog, type Level, type Log } from "../platform/log.ts";
import { systemClock } from "../platform/clock.ts";
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
  for (const warning of warnings) context.terminal.stderr.write(`hublink: warning: ${warning}\n`);
  return config;
}

/** The daemon's log, on stderr. */
export function daemonLog(config: Config, context: CommandContext): Log {
  return commandLog(config, context, config.log.level);
}

/** The log of a command whose answer is all that people want to see. */
export function quietLog(config: Config, context: CommandContext): Log {
  return commandLog(config, context, "error");
}

/** The log of a command that may take long: also says what holds it up. */
export function patientLog(config: Config, context: CommandContext): Log {
  return commandLog(config, context, "warn");
}

function commandLog(config: Config, { terminal: { stderr }, verbose }: CommandContext, level: Level): Log {
  const { format } = config.log;
  const auto = stderr.isTTY === true ? "text" : "logfmt";
  return createLog({
    level: verbose ? "debug" : level,
    format: format === "auto" ? auto : format,
    now: () => systemClock.now(),
    write: (line) => stderr.write(`${line}\n`),
  });
}
