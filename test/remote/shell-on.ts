/**
 * A real shell on each terminal backend that this machine has, and what it has shown.
 */
import { execFileSync } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { silentLog } from "../../src/platform/log.ts";
import { systemWorld } from "../../src/platform/world.ts";
import { TERMINAL_BACKENDS } from "../../src/remote/terminal-backends.ts";
import { Terminal, type TerminalBackend, type TerminalOptions } from "../../src/remote/terminal.ts";
import { eventually, inTime } from "../eventually.ts";

export interface OpenShell {
  readonly terminal: Terminal;
  readonly shown: () => string;
  /** Resolves to the match when the output so far matches. */
  shows(pattern: RegExp): Promise<RegExpExecArray>;
  readonly exited: Promise<number | null>;
}

export async function shellOn(
  backend: TerminalBackend,
  options: Partial<TerminalOptions> = {},
): Promise<OpenShell> {
  let text = "";
  const changed = new EventEmitter();
  let exit: (exitCode: number | null) => void = () => undefined;
  const exited = new Promise<number | null>((resolve) => (exit = resolve));
  const terminal = await Terminal.open({
    backend,
    shell: "/bin/sh",
    account: undefined,
    size: { rows: 30, columns: 100 },
    onOutput(output) {
      text += output.toString("utf8");
      changed.emit("output");
    },
    onExit: exit,
    world: systemWorld,
    log: silentLog,
    ...options,
  });
  return {
    terminal,
    get exited() {
      return inTime(exited, () => `the shell's end; it printed ${JSON.stringify(text.slice(-1000))}`);
    },
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

/** Each backend, and the reason to skip its tests where its tool is not installed. */
export function backendsHere(): { readonly backend: TerminalBackend; readonly skip: string | false }[] {
  return TERMINAL_BACKENDS.map((backend) => ({
    backend,
    skip: isHere(backend) ? false : `${backend.name} is not installed`,
  }));
}

function isHere({ name }: TerminalBackend): boolean {
  try {
    if (name === "busybox telnetd") return /^telnetd$/m.test(execFileSync("busybox", ["--list"]).toString());
    if (name === "script") execFileSync("script", ["--version"]);
    return true;
  } catch {
    return false;
  }
}

/** Resolves when no process has this command line; a process that was killed needs a moment to end. */
export async function untilGone(commandLine: string): Promise<void> {
  const lines = (): string[] => execFileSync("ps", ["-eo", "args="]).toString().split("\n");
  await eventually(() => !lines().includes(commandLine), `the end of ${commandLine}`);
}
