/**
 * The sh script that runs on the terminal and starts the shell there. telnetd accepts a program without arguments
 * and does not report how it ended, so the script holds the arguments and reports both its session and the exit
 * code, on a file descriptor that the shell does not inherit.
 */
import type { Account } from "./account.ts";

/** The file descriptor of the script's reports. */
export const REPORT_FD = 3;

export interface StartScriptOptions {
  /** Path of the shell. */
  readonly shell: string;
  readonly shellArgs: readonly string[];
  readonly account: Account | undefined;
  readonly size: WindowSize;
}

/**
 * Writes the script. `su -` gives another user the groups, home and environment of a login, both in busybox and
 * in util-linux.
 */
export function startScript({ shell, shellArgs, account, size }: StartScriptOptions): string {
  const command =
    account === undefined
      ? [shell, ...shellArgs]
      : ["su", "-s", shell, "-", account.name, ...(shellArgs.length > 0 ? ["--", ...shellArgs] : [])];
  return [
    "#!/bin/sh",
    // A shell without job control shares its process group, and with it Ctrl-C, with this script.
    "trap : INT QUIT TSTP",
    `stty rows ${size.rows} cols ${size.columns} 2>/dev/null`,
    // The terminal sends keys and new sizes only after this report.
    `echo "session $$" >&${REPORT_FD}`,
    `${command.map(quoted).join(" ")} ${REPORT_FD}>&-`,
    `echo "exit $?" >&${REPORT_FD}`,
    "",
  ].join("\n");
}

/** Quotes a word for sh. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The reports so far. */
export interface StartReport {
  /** The session (setsid(2)) of the shell and of everything it starts. */
  readonly sessionId: number | undefined;
  readonly exitCode: number | undefined;
}

/** Reads the text that came on {@link REPORT_FD}. */
export function parseReport(text: string): StartReport {
  const number = (pattern: RegExp): number | undefined => {
    const [, digits] = pattern.exec(text) ?? [];
    return digits === undefined ? undefined : Number(digits);
  };
  return { sessionId: number(/^session (\d+)\n/), exitCode: number(/^exit (\d+)\n/m) };
}

/** In characters. */
export interface WindowSize {
  readonly rows: number;
  readonly columns: number;
}
