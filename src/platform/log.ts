/**
 * The log, in three formats. Every text passes through {@link redact} here, so that no caller can forget it: a
 * signed URL or a PIN in a log is a leak that a board sends to its hub. Every line is printable: whoever reads the log
 * of a board has a terminal that obeys what the hub sent.
 */
import type { Clock } from "./clock.ts";
import { Limiter } from "./pace.ts";
import { printable, printableJson } from "./text.ts";

export type Level = "error" | "warn" | "info" | "debug";

/** Named values of a log line: `{ status: 401 }` is written `status=401`. */
export type Fields = Readonly<Record<string, string | number | boolean | null | undefined>>;

/** Writes redacted lines of one scope. */
export interface Log {
  error(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  debug(message: string, fields?: Fields): void;
  /** A log whose lines carry `name` as their scope. */
  scope(name: string): Log;
}

export type LogFormat = "text" | "logfmt" | "json";

export interface LogOptions {
  readonly level: Level;
  readonly format: LogFormat;
  /** Wall-clock time in ms. */
  readonly now: () => number;
  /** Takes one line without its newline. */
  readonly write: (line: string) => void;
}

/** The most serious level comes first. */
const ORDER: readonly Level[] = ["error", "warn", "info", "debug"];

/** A log that writes every line at or above `options.level`. */
export function createLog(options: LogOptions, scope = "hublink"): Log {
  const threshold = ORDER.indexOf(options.level);
  const format = FORMATS[options.format];
  const at =
    (level: Level) =>
    (message: string, fields: Fields = {}): void => {
      if (ORDER.indexOf(level) > threshold) return;
      const safe: Record<string, string | number | boolean> = {};
      for (const [key, value] of Object.entries(fields)) {
        if (value === undefined || value === null) continue;
        safe[key] = typeof value === "string" ? safeText(value) : value;
      }
      options.write(format(new Date(options.now()).toISOString(), level, scope, safeText(message), safe));
    };
  return {
    error: at("error"),
    warn: at("warn"),
    info: at("info"),
    debug: at("debug"),
    scope: (name) => createLog(options, name),
  };
}

/** Characters; a text that the hub or a server sent may be of any length. */
const MAX_TEXT_LENGTH = 4096;

/** A text that may be shown: redacted, and cut. */
function safeText(text: string): string {
  const redacted = redact(text); // before the cut: half a URL might not be known as one
  return redacted.length > MAX_TEXT_LENGTH ? `${redacted.slice(0, MAX_TEXT_LENGTH)}…` : redacted;
}

type SafeFields = Readonly<Record<string, string | number | boolean>>;
type Format = (time: string, level: Level, scope: string, message: string, fields: SafeFields) => string;

const FORMATS: Record<LogFormat, Format> = {
  text: (time, level, scope, message, fields) => {
    const rest = pairs(fields);
    return printable(`${time.slice(11, 19)} ${level.padEnd(5)} ${scope}: ${message}${rest && ` (${rest})`}`);
  },
  logfmt: (time, level, scope, message, fields) => {
    const rest = pairs(fields);
    return `ts=${time} level=${level} scope=${scope} msg=${printableJson(message)}${rest && ` ${rest}`}`;
  },
  json: (ts, level, scope, msg, fields) => printableJson({ ts, level, scope, msg, ...fields }),
};

function pairs(fields: SafeFields): string {
  return Object.entries(fields)
    .map(
      ([key, value]) =>
        `${key}=${typeof value === "string" && !/^[\w.:/@+-]+$/.test(value) ? printableJson(value) : value}`,
    )
    .join(" ");
}

/** A log that writes nothing. */
export const silentLog: Log = createLog({
  level: "error",
  format: "text",
  now: () => 0,
  write: () => undefined,
});

/**
 * Removes secrets that must never reach a log, a status or an error message: a URL's user, password and
 * query (signed URLs carry their signature there), and PINs in PKCS#11 URIs. Its time grows with the length of
 * the text and no faster, because others choose the text.
 */
export function redact(text: string): string {
  return text.replace(/:\/\/[^\s"]*/g, redactRest).replace(/(pin-value=)[^&;\s"]*/gi, "$1…");
}

/** @param rest the URL from its `://` on */
function redactRest(rest: string): string {
  return rest.replace(/^:\/\/[^/?#]*@/, "://…@").replace(/[?#].*/s, "?…");
}

/** Lines of one scope and level. An agent that works writes a few in a minute; a peer could cause thousands in a second. */
const LINE_RATE = { perSecond: 1, burst: 100 };

/**
 * A log that holds back a flood: of each scope and level it writes {@link LINE_RATE}, and then the number of lines that
 * were left out. Levels are apart, so that a flood of warnings hides no error.
 */
export function limitedLog(log: Log, clock: Pick<Clock, "monotonic">): Log {
  return limitedScope(log, "hublink", clock, new Map());
}

function limitedScope(
  log: Log,
  scope: string,
  clock: Pick<Clock, "monotonic">,
  /** By scope and level: a scope that is made again is the same one. */
  limiters: Map<string, Limiter>,
): Log {
  const at = (level: Level) => {
    const name = `${scope} ${level}`;
    const limiter = limiters.get(name) ?? new Limiter(LINE_RATE, clock);
    limiters.set(name, limiter);
    return (message: string, fields?: Fields): void => {
      const leftOut = limiter.pass();
      if (leftOut === undefined) return;
      if (leftOut > 0) log[level](`${leftOut} lines were left out: too many at once`);
      log[level](message, fields);
    };
  };
  return {
    error: at("error"),
    warn: at("warn"),
    info: at("info"),
    debug: at("debug"),
    scope: (name) => limitedScope(log.scope(name), name, clock, limiters),
  };
}

/** A line of the log, redacted and printable. */
export interface LogLine {
  readonly level: Level;
  readonly scope: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
}

/**
 * A log that also passes its lines to a listener.
 * @param level the least serious level that the listener gets
 */
export function tappedLog(log: Log, level: Level, onLine: (line: LogLine) => void, scope = "hublink"): Log {
  const threshold = ORDER.indexOf(level);
  const at =
    (lineLevel: Level) =>
    (message: string, fields: Fields = {}): void => {
      log[lineLevel](message, fields);
      if (ORDER.indexOf(lineLevel) > threshold) return;
      const safe = Object.entries(fields).flatMap(([key, value]) =>
        value === undefined || value === null ? [] : [[key, printable(safeText(String(value)))] as const],
      );
      onLine({
        level: lineLevel,
        scope,
        message: printable(safeText(message)),
        fields: Object.fromEntries(safe),
      });
    };
  return {
    error: at("error"),
    warn: at("warn"),
    info: at("info"),
    debug: at("debug"),
    scope: (name) => tappedLog(log.scope(name), level, onLine, name),
  };
}
