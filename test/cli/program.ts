/** The bundle as a child process, for tests at the level of its command line. */
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundle } from "../../scripts/bundle.ts";
import { inTime } from "../eventually.ts";

export interface ProgramOptions {
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** The content of its standard input; by default it is empty. */
  readonly stdin?: Uint8Array;
  /** The user it runs as; by default the tests' own. */
  readonly uid?: number;
  /** A command that runs hublink, such as unshare with its options. */
  readonly within?: readonly string[];
}

export interface Ended {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The bundle as a running process. */
export interface Program {
  readonly child: ChildProcessWithoutNullStreams;
  /** Resolves at its end. @throws when that takes longer than tests wait */
  readonly ended: Promise<Ended>;
  /** Resolves when its standard error has a line that matches. @throws when it ends without one */
  readonly logged: (pattern: RegExp) => Promise<string>;
}

let built: Promise<string> | undefined;

/** The bundle that `npm run build` makes, made once for a process of tests. */
async function bundled(): Promise<string> {
  built ??= (async () => {
    const folder = mkdtempSync(join(tmpdir(), "hublink-bundle-"));
    chmodSync(folder, 0o755); // for programs of other users
    process.once("exit", () => rmSync(folder, { recursive: true }));
    const file = join(folder, "hublink.cjs");
    await bundle(file);
    return file;
  })();
  return built;
}

/** Starts `hublink ARGS`. */
export async function start(args: readonly string[], options: ProgramOptions = {}): Promise<Program> {
  const [command = "", ...rest] = [...(options.within ?? []), process.execPath, await bundled(), ...args];
  const child = spawn(command, rest, {
    env: { ...process.env, ...options.env },
    ...(options.uid !== undefined && { uid: options.uid }),
  });
  const waiting = new Set<() => void>();
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
    for (const check of waiting) check();
  });
  child.stdin.on("error", () => undefined); // it may end before it has read all
  if (options.stdin !== undefined || !args.includes("-")) child.stdin.end(options.stdin ?? "");
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  return {
    child,
    get ended() {
      return inTime(ended, () => `the end of hublink ${args.join(" ")}; it logged:\n${stderr}`);
    },
    async logged(pattern) {
      const line = new Promise<string>((resolve, reject) => {
        const check = (): void => {
          const line = stderr.split("\n").find((text) => pattern.test(text));
          if (line === undefined) return;
          waiting.delete(check);
          resolve(line);
        };
        waiting.add(check);
        check();
        child.once("close", () => reject(new Error(`ended without ${String(pattern)}: ${stderr}`)));
      });
      return inTime(line, () => `${String(pattern)} in what hublink ${args.join(" ")} logs:\n${stderr}`);
    },
  };
}

/** Runs `hublink ARGS` to its end. */
export async function hublink(args: readonly string[], options: ProgramOptions = {}): Promise<Ended> {
  const program = await start(args, options);
  try {
    return await program.ended;
  } finally {
    await end(program);
  }
}

/** Starts `hublink run`; resolves when commands can reach it. */
export async function startDaemon(config: string, options: ProgramOptions = {}): Promise<Program> {
  const daemon = await start(["run", "--config", config], options);
  await daemon.logged(/hublink started/);
  return daemon;
}

/** Kills a program if it still runs. */
export async function end(program: Program | undefined): Promise<void> {
  program?.child.kill("SIGKILL");
  await program?.ended;
}
