import { spawn, type SpawnOptions } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { type Cancel, type Clock, within } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { type Account, ownAccount } from "./account.ts";
import { parseReport, REPORT_FD, startScript, type WindowSize } from "./start-script.ts";

export interface TerminalOptions {
  readonly way: TerminalWay;
  /** Path of the shell. */
  readonly shell: string;
  /** Who it runs as; the agent's own user when undefined. */
  readonly account: Account | undefined;
  readonly size: WindowSize;
  readonly onOutput: (output: Buffer) => void;
  /** It is over, and all that ran in it. Null when a signal ended the shell. */
  readonly onExit: (exitCode: number | null) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** A shell on a terminal of its own. */
export interface Terminal {
  /** Types text. False when it was not taken: the shell has not read what was typed before. */
  type(keys: string): boolean;
  resize(size: WindowSize): void;
  /** Stops reading, so that the shell has to wait with its output. */
  pause(): void;
  resume(): void;
  /** Sends a signal to all processes of the terminal. */
  signal(signal: NodeJS.Signals): void;
  /** Ends the shell and all that runs in it: hangs up, and kills what is still there after a second. */
  end(): Promise<void>;
}

/** What may wait for a shell that doesn't read. */
const MAX_UNREAD_BYTES = 256 * 1024;
/** A Pi Zero that is busy takes seconds. */
const START_TIMEOUT_MS = 15_000;
const HANG_UP_GRACE_MS = 1000;
/** Whoever still holds the output open when the shell has ended has left its session on purpose. */
const LEFT_OVER_OUTPUT_MS = 500;
/** Enough for what the start script tells. */
const MAX_REPORT_LENGTH = 256;

/**
 * Starts a shell.
 * @throws Failure when its terminal can't be made
 */
export async function openTerminal(options: TerminalOptions): Promise<Terminal> {
  const { way, clock, log } = options;
  const folder = await mkdtemp(join(tmpdir(), "hublink-shell-")); // mode 0700
  const file = join(folder, "start");
  const script = startScript({ ...options, shellArgs: way.shellArgs });
  await writeFile(file, script, { mode: 0o700 });

  const [program, ...args] = way.command(file);
  // In a session of its own: on pipes that is the shell's session.
  const spawnOptions: SpawnOptions = {
    detached: true,
    cwd: ownAccount().home,
    env: shellEnvironment(options.shell),
    stdio: ["pipe", "pipe", "pipe", "pipe"],
  };
  const child = spawn(program, args, spawnOptions);
  let report = "";
  let gone = false;
  let cancelLeftOver: Cancel = () => undefined;
  const reports = reportStream(child);
  const streams = [child.stdout, child.stderr, reports];

  const signalAll = (signal: NodeJS.Signals): void => {
    const { sessionId } = parseReport(report);
    if (sessionId !== undefined) signalSession(sessionId, signal);
  };
  const speech = way.talkTo({
    write: (data) => void child.stdin?.write(data),
    endInput: () => void child.stdin?.end(),
    show: options.onOutput,
    get sessionId() {
      return parseReport(report).sessionId;
    },
    signal: signalAll,
    clock,
    log,
  });

  const closed = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => resolve()); // it was never there; told below
  }).then(async () => {
    gone = true;
    cancelLeftOver();
    signalAll("SIGKILL");
    await rm(folder, { recursive: true, force: true }).catch((error: unknown) => log.warn(messageOf(error)));
  });
  // Keys must not come before the script has set its traps: it reports after that.
  const started = new Promise<void>((resolve, reject) => {
    reports?.once("data", () => resolve());
    child.once("error", reject);
    child.once("close", (code) => reject(new Error(`${program} ended with ${code ?? "a signal"}`)));
  });
  child.once("exit", () => {
    signalAll("SIGKILL"); // background jobs end with their terminal
    cancelLeftOver = clock.after(LEFT_OVER_OUTPUT_MS, () => {
      for (const stream of streams) stream?.destroy();
    });
  });
  child.stdin?.on("error", () => undefined); // EPIPE: it has ended; "close" follows
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (output: Buffer) => speech.said(output));
  }
  reports?.on("data", (text: Buffer) => {
    report = (report + text.toString("latin1")).slice(0, MAX_REPORT_LENGTH);
  });

  try {
    if ((await within(clock, START_TIMEOUT_MS, started, "no answer")) !== undefined) {
      child.kill("SIGKILL");
      throw new Error(`${program} starts no shell`);
    }
  } catch (error) {
    await closed;
    const hint = systemCode(error) === "ENOENT" ? `${program} is not installed` : messageOf(error);
    throw new Failure("unavailable", `no terminal by ${way.name}: ${hint}`, { cause: error });
  }
  void closed.then(() => options.onExit(parseReport(report).exitCode ?? null));

  return {
    type(keys) {
      if (gone || (child.stdin?.writableLength ?? 0) > MAX_UNREAD_BYTES) return false;
      speech.typed(keys);
      return true;
    },
    resize(size) {
      if (!gone) speech.resize(size);
    },
    pause() {
      for (const stream of [child.stdout, child.stderr]) stream?.pause();
    },
    resume() {
      for (const stream of [child.stdout, child.stderr]) stream?.resume();
    },
    signal: signalAll,
    async end() {
      // Nobody reads any more: a shell that waits with its output could not end.
      for (const stream of [child.stdout, child.stderr]) stream?.removeAllListeners("data").resume();
      signalAll("SIGHUP");
      if ((await within(clock, HANG_UP_GRACE_MS, closed, "still there")) === undefined) return;
      signalAll("SIGKILL");
      child.kill("SIGKILL");
      for (const stream of streams) stream?.destroy();
      await closed;
    },
  };
}

/** Not typed as always there: when no file descriptor is free, Node makes no streams. */
function reportStream(child: { readonly stdio?: readonly unknown[] }): Readable | undefined {
  const stream = child.stdio?.[REPORT_FD];
  return stream instanceof Readable ? stream : undefined;
}

/** What is passed on of the agent's environment: its own settings, such as where a key is, stay with it. */
const INHERITED = ["PATH", "LANG", "LC_ALL", "TZ"];
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

function shellEnvironment(shell: string): Record<string, string> {
  const { name, home } = ownAccount();
  const inherited = INHERITED.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  });
  return {
    PATH: DEFAULT_PATH,
    ...(Object.fromEntries(inherited) as Record<string, string>),
    TERM: "xterm-256color", // which the hub's page shows
    HOME: home, // whoever looks for a file first looks there
    USER: name,
    LOGNAME: name,
    SHELL: shell,
  };
}

/**
 * Sends a signal to every process of a session (setsid(2)), whatever process groups a shell with job
 * control has made of them.
 */
function signalSession(sessionId: number, signal: NodeJS.Signals): void {
  for (const pid of sessionMembers(sessionId)) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      // ESRCH: it has ended meanwhile. EPERM: a set-uid program, which its terminal's hang-up has to end.
      if (!["ESRCH", "EPERM"].includes(systemCode(error) ?? "")) throw error;
    }
  }
}

function sessionMembers(sessionId: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && sessionOf(pid) === sessionId);
}

/** Undefined for a process that has ended. */
function sessionOf(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined; // it has ended since the folder was read
  }
  // proc(5): the name stands in parentheses and may hold some itself; then state, parent, group, session.
  const [state, , , session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return state === "Z" ? undefined : Number(session);
}

/** The child that holds the terminal, as a way of talking to it sees it. */
export interface TerminalChild {
  /** To its standard input. */
  write(data: Uint8Array | string): void;
  endInput(): void;
  /** To whoever looks at the terminal. */
  show(output: Buffer): void;
  /** Of the shell; undefined until it has started. */
  readonly sessionId: number | undefined;
  signal(signal: NodeJS.Signals): void;
  readonly clock: Clock;
  readonly log: Log;
}

/** One conversation with such a child. */
export interface TerminalSpeech {
  typed(keys: string): void;
  /** The child's standard output and error. */
  said(output: Buffer): void;
  resize(size: WindowSize): void;
}

/** One way to give a shell a terminal without a native addon. */
export interface TerminalWay {
  readonly name: string;
  /** It has a size, Ctrl-C and job control. */
  readonly isTerminal: boolean;
  /** Runs an executable file on a terminal. */
  command(file: string): readonly [string, ...string[]];
  readonly shellArgs: readonly string[];
  talkTo(child: TerminalChild): TerminalSpeech;
}
