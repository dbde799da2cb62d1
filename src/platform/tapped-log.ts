import { ORDER, safeText, type Fields, type Level, type Log } from "./log.ts";

/** A line of the log, redacted. */
export interface LogLine {
  readonly level: Level;
  readonly scope: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
}

/**
 * A log that also hands its lines to a listener.
 * @param level the lowest that the listener gets
 */
export function tappedLog(log: Log, level: Level, onLine: (line: LogLine) => void, scope = "hublink"): Log {
  const threshold = ORDER.indexOf(level);
  const at =
    (lineLevel: Level) =>
    (message: string, fields: Fields = {}): void => {
      log[lineLevel](message, fields);
      if (ORDER.indexOf(lineLevel) > threshold) return;
      const safe = Object.entries(fields).flatMap(([key, value]) =>
        value === undefined || value === null ? [] : [[key, safeText(String(value))] as const],
      );
      onLine({ level: lineLevel, scope, message: safeText(message), fields: Object.fromEntries(safe) });
    };
  return {
    error: at("error"),
    warn: at("warn"),
    info: at("info"),
    debug: at("debug"),
    scope: (name) => tappedLog(log.scope(name), level, onLine, name),
  };
}
