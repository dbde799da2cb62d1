/**
 * A shell on a terminal of its own, made by one of the terminal backends and a start script. Everything that
 * runs in the shell's session ends with it, background jobs included, so that nothing that a person at the hub
 * started stays behind on the board.
 */
import type { ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { spawnGroup } from "../platform/child.ts";
import { type Cancel, within } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { makeScratch } from "../platform/scratch.ts";
import type { World } from "../platform/world.ts";
import { type Account, ownAccount } from "./account.ts";
import { guestEnvironment } from "./guest-environment.ts";
import { parseReport, REPORT_FD, startScript, type WindowSize } from "./start-script.ts";

/** The child that holds the terminal, as its backend uses it. */
export interface TerminalChild {
  /** Writes to its standard input. */
  write(data: Uint8Array | string): void;
  endInput(): void;
  /** Shows output to the person at the terminal. */
  show(output: Buffer): void;
  /** The shell's session; undefined until it has started. */
  readonly sessionId: number | undefined;
  signal(signal: NodeJS.Signals): void;
  readonly world: World;
  readonly log: Log;
}

/** A backend's connection to one child. */
export interface TerminalConnection {
  type(keys: string): void;
  /** Handles the child's standard output and error. */
  handleOutput(output: Buffer): void;
  resize(size: WindowSize): void;
}

/** One way to give a shell a terminal without a native addon. */
export interface TerminalBackend {
  readonly name: string;
  /** Whether it has a window size, Ctrl-C and job control. */
  readonly isTerminal: boolean;
  /** The command that runs an executable file on a terminal. */
  command(file: string): readonly [string, ...string[]];
  readonly shellArgs: readonly string[];
  connect(child: TerminalChild): TerminalConnection;
}

export interface TerminalOptions {
  readonly backend: TerminalBackend;
  /** Path of the shell. */
  readonly shell: string;
  /** The user that it runs as; the agent's own user when undefined. */
  readonly account: Account | undefined;
  readonly size: WindowSize;
  readonly onOutput: (output: Buffer) => void;
  /** Called when the shell and everything in it has ended; null when a signal ended the shell. */
  readonly onExit: (exitCode: number | null) => void;
  readonly world: World;
  readonly log: Log;
}

/** Input that may wait for a shell that doesn't read. */
const MAX_UNREAD_BYTES = 256 * 1024;
/** A busy Pi Zero takes seconds. */
const START_TIMEOUT_MS = 15_000;
const HANG_UP_GRACE_MS = 1000;
/** A process that holds the output open after this has left the session on purpose, and is left alone. */
const OUTPUT_AFTER_EXIT_MS = 500;
/** Enough for the reports of the start script. */
const MAX_REPORT_LENGTH = 256;

export class Terminal {
  readonly #child: ChildProcess;
  readonly #world: World;
  readonly #connection: TerminalConnection;
  readonly #reports: Readable | undefined;
  /** Resolves when the child, its session and the start script's folder are gone. */
  readonly #closed: Promise<void>;
  #report = "";
  #gone = false;
  #cancelOutputTimeout: Cancel = () => undefined;

  /**
   * Starts a shell.
   * @throws Failure `unavailable` when its terminal can't be made
   */
  static async open(options: TerminalOptions): Promise<Terminal> {
    const folder = await makeScratch();
    let terminal: Terminal;
    try {
      const file = join(folder, "start");
      const script = startScript({ ...options, shellArgs: options.backend.shellArgs });
      await writeFile(file, script, { mode: 0o700 });
      terminal = new Terminal(options, folder, file);
    } catch (error) {
      await rm(folder, { recursive: true, force: true });
      throw error;
    }
    await terminal.#untilStarted(options.backend);
    void terminal.#closed.then(() => options.onExit(parseReport(terminal.#report).exitCode ?? null));
    return terminal;
  }

  private constructor(
    { backend, shell, onOutput, world, log }: TerminalOptions,
    folder: string,
    file: string,
  ) {
    const [program, ...args] = backend.command(file);
    // In a session of its own: without a terminal (pipes) that is the shell's session.
    const child = spawnGroup(program, args, {
      cwd: ownAccount().home,
      // TERM is the terminal of the hub's page.
      env: { ...guestEnvironment(), TERM: "xterm-256color", SHELL: shell },
      stdio: ["pipe", "pipe", "pipe", "pipe"],
    });
    this.#child = child;
    this.#world = world;
    this.#reports = reportStream(child);
    const sessionId = (): number | undefined => parseReport(this.#report).sessionId;
    this.#connection = backend.connect({
      write: (data) => void child.stdin?.write(data),
      endInput: () => void child.stdin?.end(),
      show: onOutput,
      get sessionId() {
        return sessionId();
      },
      signal: (signal) => this.signal(signal),
      world,
      log,
    });
    this.#closed = new Promise<void>((resolve) => {
      child.once("close", () => resolve());
      child.once("error", () => resolve()); // not started: untilStarted reports it
    }).then(async () => {
      this.#gone = true;
      this.#cancelOutputTimeout();
      this.signal("SIGKILL");
      await rm(folder, { recursive: true, force: true }).catch((error: unknown) =>
        log.warn(messageOf(error)),
      );
    });
    child.once("exit", () => {
      this.signal("SIGKILL"); // background jobs end with their terminal
      this.#cancelOutputTimeout = world.clock.after(OUTPUT_AFTER_EXIT_MS, () => this.#destroyStreams());
    });
    child.stdin?.on("error", () => undefined); // EPIPE: the child has ended; "close" follows
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (output: Buffer) => this.#connection.handleOutput(output));
    }
    this.#reports?.on("data", (text: Buffer) => {
      this.#report = (this.#report + text.toString("latin1")).slice(0, MAX_REPORT_LENGTH);
    });
  }

  /** Types text. False when it is lost because the shell has not read the text before it. */
  type(keys: string): boolean {
    if (this.#gone || (this.#child.stdin?.writableLength ?? 0) > MAX_UNREAD_BYTES) return false;
    this.#connection.type(keys);
    return true;
  }

  resize(size: WindowSize): void {
    if (!this.#gone) this.#connection.resize(size);
  }

  /** Stops reading, so that the shell has to wait with its output. */
  pause(): void {
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream?.pause();
  }

  resume(): void {
    for (const stream of [this.#child.stdout, this.#child.stderr]) stream?.resume();
  }

  /**
   * Signals all processes of the terminal. A shell with job control gives each job a process group of its own,
   * so the session is signalled and not one group.
   */
  signal(signal: NodeJS.Signals): void {
    const { sessionId } = parseReport(this.#report);
    if (sessionId !== undefined) signalSession(sessionId, signal);
  }

  /** Ends the shell and everything in it: hangs up, and kills after a second. */
  async end(): Promise<void> {
    // Output is read and dropped from here on: a shell that waits to write could not end.
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream?.removeAllListeners("data").resume();
    this.signal("SIGHUP");
    if ((await within(this.#world.clock, HANG_UP_GRACE_MS, this.#closed, "still there")) === undefined)
      return;
    this.signal("SIGKILL");
    this.#child.kill("SIGKILL");
    this.#destroyStreams();
    await this.#closed;
  }

  /** Resolves at the start script's first report: keys that came before its traps are set could kill it. */
  async #untilStarted(backend: TerminalBackend): Promise<void> {
    const program = this.#child.spawnfile;
    const started = new Promise<void>((resolve, reject) => {
      this.#reports?.once("data", () => resolve());
      this.#child.once("error", reject);
      this.#child.once("close", (code) => reject(new Error(`${program} ended with ${code ?? "a signal"}`)));
    });
    try {
      if ((await within(this.#world.clock, START_TIMEOUT_MS, started, "no answer")) !== undefined) {
        this.#child.kill("SIGKILL");
        throw new Error(`${program} starts no shell`);
      }
    } catch (error) {
      await this.#closed;
      const hint = systemCode(error) === "ENOENT" ? `${program} is not installed` : messageOf(error);
      throw new Failure("unavailable", `no terminal by ${backend.name}: ${hint}`, { cause: error });
    }
  }

  #destroyStreams(): void {
    for (const stream of [this.#child.stdout, this.#child.stderr, this.#reports]) stream?.destroy();
  }
}

/** Undefined when no file descriptor was free: Node then makes no streams. */
function reportStream(child: { readonly stdio?: readonly unknown[] }): Readable | undefined {
  const stream = child.stdio?.[REPORT_FD];
  return stream instanceof Readable ? stream : undefined;
}

/** Signals every process of a session (setsid(2)), in all of its process groups. */
function signalSession(sessionId: number, signal: NodeJS.Signals): void {
  for (const pid of sessionMembers(sessionId)) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      // ESRCH: it has just ended. EPERM: a set-uid program, which the hang-up of its terminal has to end.
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
