import { StringDecoder } from "node:string_decoder";
import type { Cancel, Clock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { accountOf } from "./account.ts";
import { createOutputPump, type OutputSink } from "./output-pump.ts";
import type { WindowSize } from "./start-script.ts";
import { openTerminal, type Terminal, type TerminalWay } from "./terminal.ts";

/** `[console]`, as far as it says what runs. */
export interface ShellConfig {
  readonly shell: string;
  readonly user: string;
  readonly idleTimeoutMs: number;
}

export interface RemoteShellOptions {
  readonly config: ShellConfig;
  readonly way: () => Promise<TerminalWay>;
  readonly sink: OutputSink;
  readonly onStarted?: () => void;
  /** How it ended; a shell that could not be started has `failed`. */
  readonly onEnded: (end: ShellEnd) => void;
  readonly clock: Clock;
  readonly log: Log;
}

export type ShellEnd =
  | { readonly kind: "exited"; readonly exitCode: number | null }
  | { readonly kind: "idle" }
  | { readonly kind: "failed"; readonly reason: string };

/** A shell that is used over the hub: one at a time, started again and again. */
export interface RemoteShell {
  readonly running: boolean;
  /** Starts a shell when none runs; not more often than once a second. */
  start(): void;
  /** Lost when no shell runs. */
  type(keys: string): void;
  /** Also holds for the shells to come. */
  resize(size: WindowSize): void;
  signal(signal: NodeJS.Signals): void;
  /** Ends the shell that runs and starts another. */
  restart(): void;
  /** Shows text of our own, between the shell's. */
  say(text: string): void;
  /** Whether output gets through to the hub; if not, the shell waits with it. */
  setConnected(connected: boolean): void;
  /** Ends the shell that runs. */
  end(): Promise<void>;
  /** Ends it all. */
  stop(): Promise<void>;
}

const PIPES_NOTICE =
  "This board has neither busybox's telnetd nor script, so this is no real terminal:\r\n" +
  "no window size, no job control, no programs that draw on the screen.\r\n";
const MIN_RESTART_MS = 1000;
/** Typed while the shell is still being started. */
const MAX_EARLY_LENGTH = 16 * 1024;
const DEFAULT_SIZE: WindowSize = { rows: 24, columns: 80 };

type OwnEnd = { readonly kind: "idle" } | { readonly kind: "restarted" } | { readonly kind: "stopped" };

/** The shell that runs now. */
interface Current {
  /** Undefined while it is being started. */
  terminal: Terminal | undefined;
  early: string;
  /** Why we end it, when it doesn't end by itself. */
  end: OwnEnd | undefined;
  readonly ended: Promise<void>;
}

export function createRemoteShell(options: RemoteShellOptions): RemoteShell {
  const { config, clock, log } = options;
  let size = DEFAULT_SIZE;
  let current: Current | undefined;
  let startedMs = -Infinity;
  let stopped = false;
  let cancelIdle: Cancel = () => undefined;
  const pump = createOutputPump({
    sink: options.sink,
    onFull: () => current?.terminal?.pause(),
    onRoom: () => current?.terminal?.resume(),
    clock,
    log,
  });

  const end = async (why: OwnEnd): Promise<void> => {
    const shell = current;
    if (shell === undefined) return;
    shell.end ??= why;
    await shell.terminal?.end();
    await shell.ended;
  };

  const endSoon = (why: OwnEnd): void => {
    end(why).catch((error: unknown) => log.error(`ending the shell: ${messageOf(error)}`));
  };

  const touch = (): void => {
    cancelIdle();
    cancelIdle = clock.after(config.idleTimeoutMs, () => endSoon({ kind: "idle" }));
  };

  /** Runs a shell from its start to its end. */
  const run = async (shell: Omit<Current, "ended">): Promise<ShellEnd> => {
    const decoder = new StringDecoder("utf8");
    let exited: (exitCode: number | null) => void = () => undefined;
    const exit = new Promise<number | null>((resolve) => (exited = resolve));
    const way = await options.way();
    if (!way.isTerminal) pump.push(PIPES_NOTICE);
    const terminal = await openTerminal({
      way,
      shell: config.shell,
      account: accountOf(config.user),
      size,
      onOutput: (output) => pump.push(decoder.write(output)),
      onExit: exited,
      clock,
      log,
    });
    shell.terminal = terminal;
    log.info("a shell is started for the hub", { shell: config.shell, user: config.user || undefined });
    options.onStarted?.();
    terminal.resize(size); // it may have changed meanwhile
    if (pump.full) terminal.pause();
    if (shell.early !== "") terminal.type(shell.early);
    if (stopped || shell.end !== undefined) await terminal.end();
    const exitCode = await exit;
    pump.push(decoder.end());
    return shell.end?.kind === "idle" ? shell.end : { kind: "exited", exitCode };
  };

  const launch = (): void => {
    startedMs = clock.monotonic();
    const shell: Omit<Current, "ended"> = { terminal: undefined, early: "", end: undefined };
    const ended = run(shell)
      .catch((error: unknown): ShellEnd => {
        log.error(`no shell for the hub: ${messageOf(error)}`);
        return { kind: "failed", reason: messageOf(error) };
      })
      .then((end) => {
        current = undefined;
        cancelIdle();
        log.info("the shell for the hub has ended", { how: shell.end?.kind ?? end.kind });
        if (stopped) return;
        if (shell.end?.kind === "restarted") launch();
        else options.onEnded(end);
      });
    current = Object.assign(shell, { ended });
    touch();
  };

  const start = (): void => {
    if (current !== undefined || stopped || clock.monotonic() - startedMs < MIN_RESTART_MS) return;
    launch();
  };

  return {
    get running() {
      return current !== undefined;
    },
    start,
    type(keys) {
      if (current === undefined) return;
      touch();
      if (current.terminal === undefined) {
        current.early = (current.early + keys).slice(0, MAX_EARLY_LENGTH);
      } else if (!current.terminal.type(keys)) {
        log.debug("keys are lost: the shell doesn't read");
      }
    },
    resize(next) {
      size = next;
      current?.terminal?.resize(next);
    },
    signal(signal) {
      current?.terminal?.signal(signal);
    },
    restart() {
      if (current === undefined) start();
      else endSoon({ kind: "restarted" });
    },
    say: (text) => pump.push(text),
    setConnected: (connected) => pump.setOpen(connected),
    end: async () => end({ kind: "stopped" }),
    async stop() {
      stopped = true;
      cancelIdle();
      pump.stop();
      await end({ kind: "stopped" });
    },
  };
}
