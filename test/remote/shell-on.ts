import { execFileSync } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { systemClock } from "../../src/platform/clock.ts";
import { silentLog } from "../../src/platform/log.ts";
import { TERMINAL_WAYS } from "../../src/remote/terminal-ways.ts";
import {
  openTerminal,
  type Terminal,
  type TerminalOptions,
  type TerminalWay,
} from "../../src/remote/terminal.ts";
import { eventually, inTime } from "../eventually.ts";

/** A shell, and what it has shown. */
export interface OpenShell {
  readonly terminal: Terminal;
  readonly shown: () => string;
  /** Resolves when what was shown matches, and hands it out. */
  shows(pattern: RegExp): Promise<RegExpExecArray>;
  readonly exited: Promise<number | null>;
}

export async function shellOn(way: TerminalWay, options: Partial<TerminalOptions> = {}): Promise<OpenShell> {
  let text = "";
  const changed = new EventEmitter();
  let exit: (exitCode: number | null) => void = () => undefined;
  const exited = new Promise<number | null>((resolve) => (exit = resolve));
  const terminal = await openTerminal({
    way,
    shell: "/bin/sh",
    account: undefined,
    size: { rows: 30, columns: 100 },
    onOutput(output) {
      text += output.toString("utf8");
      changed.emit("output");
    },
    onExit: exit,
    clock: systemClock,
    log: silentLog,
    ...options,
  });
  return {
    terminal,
    exited,
    shown: () => text,
    async shows(pattern) {
      const match = async (): Promise<RegExpExecArray> => {
        for (;;) {
          const found = pattern.exec(text);
          if (found !== null) return found;
          await once(changed, "output");
        }
      };
      return inTime(match(), () => `${String(pattern)} in ${JSON.stringify(text.slice(-1000))}`);
    },
  };
}

/** Each way, and why it can't be tested here if it can't. */
export function waysHere(): { readonly way: TerminalWay; readonly skip: string | false }[] {
  return TERMINAL_WAYS.map((way) => ({ way, skip: isHere(way) ? false : `${way.name} is not installed` }));
}

function isHere({ name }: TerminalWay): boolean {
  try {
    if (name === "busybox telnetd") return /^telnetd$/m.test(execFileSync("busybox", ["--list"]).toString());
    if (name === "script") execFileSync("script", ["--version"]);
    return true;
  } catch {
    return false;
  }
}

/** Resolves when no process has this command line: one that was killed still takes a moment to end. */
export async function untilGone(commandLine: string): Promise<void> {
  const lines = (): string[] => execFileSync("ps", ["-eo", "args="]).toString().split("\n");
  await eventually(() => !lines().includes(commandLine), `the end of ${commandLine}`);
}
