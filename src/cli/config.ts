import type { Config } from "../config/schema.ts";
import { loadConfig } from "../config/load.ts";
import { createLog, type Log } from "../platform/log.ts";
import { systemClock } from "../platform/clock.ts";
import type { CommandContext } from "./terminal.ts";

/** The configuration, with its warnings on stderr. */
export async function readConfig(context: CommandContext): Promise<Config> {
  const { config, warnings } = await loadConfig({
    env: context.env,
    ...(context.config !== undefined && { path: context.config }),
  });
  for (const warning of warnings) context.terminal.stderr.write(`hublink: warning: ${warning}\n`);
  return config;
}

/** The log of a command, on stderr. */
export function commandLog(config: Config, { terminal: { stderr }, verbose }: CommandContext): Log {
  const { level, format } = config.log;
  const auto = stderr.isTTY ? "text" : "logfmt";
  return createLog({
    level: verbose ? "debug" : level,
    format: format === "auto" ? auto : format,
    now: () => systemClock.now(),
    write: (line) => stderr.write(`${line}\n`),
  });
}

/** The log of a command whose answer is all that people want to see. */
export function quietLog(config: Config, context: CommandContext): Log {
  return commandLog({ ...config, log: { ...config.log, level: "error" } }, context);
}
