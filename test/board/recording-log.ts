/** A log for tests. */
import type { Fields, Level, Log } from "../../src/platform/log.ts";

/** A log that keeps its lines, such as `warn rebooting method=sysrq`. */
export function recordingLog(lines: string[]): Log {
  const at =
    (level: Level) =>
    (message: string, fields: Fields = {}): void => {
      const named = Object.entries(fields).map(([name, value]) => `${name}=${value}`);
      lines.push([level, message, ...named].join(" "));
    };
  const log: Log = {
    error: at("error"),
    warn: at("warn"),
    info: at("info"),
    debug: at("debug"),
    scope: () => log,
  };
  return log;
}
