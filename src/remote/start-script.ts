import type { Account } from "./account.ts";

/** The file descriptor on which the script tells who it is and how the shell ended. */
export const REPORT_FD = 3;

export interface StartScriptOptions {
  /** Path of the shell. */
  readonly shell: string;
  readonly shellArgs: readonly string[];
  readonly account: Account | undefined;
  readonly size: WindowSize;
}

/**
 * The sh script that runs on the terminal and starts the shell there. telnetd takes a program without
 * arguments, and tells nobody how it ended: both is this script's work. `su -` gives another user groups,
 * home and environment as at a login, with busybox as well as with util-linux.
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
    // Keys and other sizes come from here on.
    `echo "session $$" >&${REPORT_FD}`,
    `${command.map(quoted).join(" ")} ${REPORT_FD}>&-`,
    `echo "exit $?" >&${REPORT_FD}`,
    "",
  ].join("\n");
}

/** A word as sh reads it, whatever it holds. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** What the script has told so far. */
export interface StartReport {
  /** The session (setsid(2)) of the shell and all that it starts. */
  readonly sessionId: number | undefined;
  readonly exitCode: number | undefined;
}

/** Reads what came on {@link REPORT_FD}. */
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
