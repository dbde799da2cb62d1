/**
 * A shell that people use through the hub: one at a time, started again as often as needed. Keys that arrive
 * while it is being started are kept for it: the hub's page starts a shell with the first key that is typed.
 */
import { EventEmitter } from "node:events";
import { StringDecoder } from "node:string_decoder";
import type { Config } from "../config/schema.ts";
import type { Cancel } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import { accountOf } from "./account.ts";
import { OutputPump, type OutputSink } from "./output-pump.ts";
import type { WindowSize } from "./start-script.ts";
import { Terminal, type TerminalBackend } from "./terminal.ts";

export interface RemoteShellOptions {
  readonly config: Config["console"];
  readonly terminalBackend: () => Promise<TerminalBackend>;
  readonly sink: OutputSink;
  readonly world: World;
  readonly log: Log;
}

/** How a shell ended; one that could not be started has `failed`. */
export type ShellEnd =
  | { readonly kind: "exited"; readonly exitCode: number | null }
  | { readonly kind: "idle" }
  | { readonly kind: "failed"; readonly reason: string };

interface ShellEvents {
  started: [];
  ended: [end: ShellEnd];
}

const PIPES_NOTICE =
  "This board has neither busybox's telnetd nor script, so this is no real terminal:\r\n" +
  "no window size, no job control, no programs that draw on the screen.\r\n";
const MIN_RESTART_MS = 1000;
/** Characters kept of the keys that are typed while the shell is being started. */
const MAX_EARLY_LENGTH = 16 * 1024;
const DEFAULT_SIZE: WindowSize = { rows: 24, columns: 80 };

type EndReason = "idle" | "restarted" | "stopped";

/** The present shell. */
interface Current {
  /** Undefined while it is being started. */
  terminal: Terminal | undefined;
  earlyKeys: string;
  /** Why the agent ends it; undefined for a shell that ends by itself. */
  endReason: EndReason | undefined;
  readonly ended: Promise<void>;
}

export class RemoteShell extends EventEmitter<ShellEvents> {
  readonly #options: RemoteShellOptions;
  readonly #pump: OutputPump;
  #size = DEFAULT_SIZE;
  #current: Current | undefined;
  #startedMs = -Infinity;
  #stopped = false;
  #cancelIdle: Cancel = () => undefined;

  constructor(options: RemoteShellOptions) {
    super();
    this.#options = options;
    const { sink, world, log } = options;
    this.#pump = new OutputPump({ sink, clock: world.clock, log });
    this.#pump.on("full", () => this.#current?.terminal?.pause());
    this.#pump.on("room", () => this.#current?.terminal?.resume());
  }

  get running(): boolean {
    return this.#current !== undefined;
  }

  /** Starts a shell unless one runs, at most once a second. */
  start(): void {
    const sinceMs = this.#options.world.clock.monotonic() - this.#startedMs;
    if (this.#current === undefined && !this.#stopped && sinceMs >= MIN_RESTART_MS) this.#launch();
  }

  /** Types text; it is lost when no shell runs. */
  type(keys: string): void {
    const current = this.#current;
    if (current === undefined) return;
    this.#resetIdleTimer();
    if (current.terminal === undefined) {
      current.earlyKeys = (current.earlyKeys + keys).slice(0, MAX_EARLY_LENGTH);
    } else if (!current.terminal.type(keys)) {
      this.#options.log.debug("keys are lost: the shell doesn't read");
    }
  }

  /** Sets the window's size, also for the shells that are started later. */
  resize(size: WindowSize): void {
    this.#size = size;
    this.#current?.terminal?.resize(size);
  }

  signal(signal: NodeJS.Signals): void {
    this.#current?.terminal?.signal(signal);
  }

  /** Ends the shell and starts another. */
  restart(): void {
    if (this.#current === undefined) this.start();
    else this.#endInBackground("restarted");
  }

  /** Shows text of the agent's own between the shell's output. */
  show(text: string): void {
    this.#pump.push(text);
  }

  /** Whether output reaches the hub; while it does not, the shell has to wait. */
  setConnected(connected: boolean): void {
    this.#pump.setOpen(connected);
  }

  /** Ends the shell that runs. */
  async end(): Promise<void> {
    await this.#end("stopped");
  }

  /** Ends the shell for good: no other is started. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelIdle();
    this.#pump.stop();
    await this.#end("stopped");
  }

  #launch(): void {
    const { world, log } = this.#options;
    this.#startedMs = world.clock.monotonic();
    const shell: Omit<Current, "ended"> = { terminal: undefined, earlyKeys: "", endReason: undefined };
    const ended = this.#run(shell)
      .catch((error: unknown): ShellEnd => {
        log.error(`no shell for the hub: ${messageOf(error)}`);
        return { kind: "failed", reason: messageOf(error) };
      })
      .then((end) => {
        this.#current = undefined;
        this.#cancelIdle();
        log.info("the shell for the hub has ended", { how: shell.endReason ?? end.kind });
        if (this.#stopped) return;
        if (shell.endReason !== "restarted") {
          this.emit("ended", end);
          return;
        }
        this.#launch();
        this.#resetIdleTimer(); // somebody is there
      });
    this.#current = Object.assign(shell, { ended });
  }

  /** Runs a shell from its start to its end. */
  async #run(shell: Omit<Current, "ended">): Promise<ShellEnd> {
    const { config, world, log } = this.#options;
    const decoder = new StringDecoder("utf8");
    let exited: (exitCode: number | null) => void = () => undefined;
    const exit = new Promise<number | null>((resolve) => (exited = resolve));
    const backend = await this.#options.terminalBackend();
    if (!backend.isTerminal) this.#pump.push(PIPES_NOTICE);
    const terminal = await Terminal.open({
      backend,
      shell: config.shell,
      account: accountOf(config.user),
      size: this.#size,
      onOutput: (output) => this.#pump.push(decoder.write(output)),
      onExit: exited,
      world,
      log,
    });
    shell.terminal = terminal;
    log.info("a shell is started for the hub", { shell: config.shell, user: config.user || undefined });
    this.emit("started");
    terminal.resize(this.#size); // it may have changed while the shell was being started
    if (this.#pump.full) terminal.pause();
    if (shell.earlyKeys !== "") terminal.type(shell.earlyKeys);
    if (this.#stopped || shell.endReason !== undefined) await terminal.end();
    const exitCode = await exit;
    this.#pump.push(decoder.end());
    return shell.endReason === "idle" ? { kind: "idle" } : { kind: "exited", exitCode };
  }

  async #end(reason: EndReason): Promise<void> {
    const shell = this.#current;
    if (shell === undefined) return;
    shell.endReason ??= reason;
    await shell.terminal?.end();
    await shell.ended;
  }

  #endInBackground(reason: EndReason): void {
    this.#end(reason).catch((error: unknown) =>
      this.#options.log.error(`ending the shell: ${messageOf(error)}`),
    );
  }

  #resetIdleTimer(): void {
    const { config, world } = this.#options;
    this.#cancelIdle();
    this.#cancelIdle = world.clock.after(config.idleTimeoutMs, () => this.#endInBackground("idle"));
  }
}
