/**
 * Running a program to its end: a hook of the configuration, or one of the system's tools. Time and output
 * are limited, and a program that runs too long is killed with everything it started; a hook that hung would
 * otherwise hold up the part of the agent that waits for it.
 */
import { addAbortListener } from "node:events";
import { signalGroup, spawnGroup } from "./child.ts";
import type { Cancel, Clock } from "./clock.ts";
import { Failure, messageOf, systemCode } from "./failure.ts";
import { redact } from "./log.ts";

export interface CommandOptions {
  readonly clock: Clock;
  /** The process group is killed after this. */
  readonly timeoutMs: number;
  /** Text for its standard input; empty when not given. */
  readonly stdin?: string | Uint8Array;
  /** Added to the agent's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** False for a program that gets `env` only. Default true: it is the board's own, or the configuration names it. */
  readonly inheritEnv?: boolean;
  /** Output past this many bytes of each stream is dropped. Default 64 KiB. */
  readonly maxOutputBytes?: number;
  /** Kills the process group. */
  readonly signal?: AbortSignal;
  /** Open files it inherits, as its descriptors from 3 on. */
  readonly files?: readonly number[];
}

export interface CommandResult {
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
  readonly stdout: string;
  /** The same as bytes. */
  readonly stdoutBytes: Buffer;
  readonly stderr: string;
  readonly timedOut: boolean;
}

const MAX_OUTPUT_BYTES = 64 * 1024;

/** What a program wrote last is in its pipes when it ends, and is read within this time. */
const LAST_WORDS_MS = 2000;

/** Characters kept of a command's own words about its failure. */
const MAX_WORDS = 200;

/**
 * Describes how a command failed, with its own words: `ended with 3: no lamp here`. They are redacted, since
 * the text may be sent to the hub.
 */
export function failedEnd({ exitCode, timedOut, stderr }: CommandResult, timeoutMs: number): string {
  const end = timedOut ? `took longer than ${timeoutMs / 1000} s` : `ended with ${exitCode ?? "a signal"}`;
  const words = redact(stderr.trim()).slice(0, MAX_WORDS);
  return words === "" ? end : `${end}: ${words}`;
}

/**
 * Runs a program to its end, in a process group of its own. A daemon that it leaves behind lives on; what that writes is
 * read for two seconds more at most.
 * @param command a program with its arguments, or a line for `/bin/sh -c`
 * @throws Failure `command_failed` when the program can't be started
 */
export async function runCommand(
  command: readonly string[] | string,
  options: CommandOptions,
): Promise<CommandResult> {
  const [program, ...args] = typeof command === "string" ? ["/bin/sh", "-c", command] : command;
  if (program === undefined) throw new Failure("config", "the command to run is empty");
  const limit = options.maxOutputBytes ?? MAX_OUTPUT_BYTES;
  const stdout = new Output(limit);
  const stderr = new Output(limit);
  let timedOut = false;
  let kill = (): void => undefined;
  let cancelGrace: Cancel = () => undefined;
  const cancel = options.clock.after(options.timeoutMs, () => {
    timedOut = true;
    kill();
  });
  using _listener = options.signal && addAbortListener(options.signal, () => kill());
  try {
    const exitCode = await new Promise<number | null>((resolve, reject) => {
      const child = spawnGroup(program, args, {
        env: { ...(options.inheritEnv !== false && process.env), ...options.env },
        stdio: ["pipe", "pipe", "pipe", ...(options.files ?? [])],
      });
      child.once("error", reject);
      // A daemon that it started may hold them open for as long as it lives.
      const readNoMore = (): void => {
        child.stdout?.destroy();
        child.stderr?.destroy();
      };
      child.once("exit", () => {
        // After a timer come the events of files, so what is in the pipes is read before the immediates.
        cancelGrace = options.clock.after(LAST_WORDS_MS, () => setImmediate(readNoMore));
      });
      child.once("close", resolve);
      child.stdout?.on("data", (chunk: Buffer) => stdout.add(chunk));
      child.stderr?.on("data", (chunk: Buffer) => stderr.add(chunk));
      child.stdin?.on("error", () => undefined); // EPIPE: it may end without reading its input
      child.stdin?.end(options.stdin ?? "");
      kill = () => {
        try {
          signalGroup(child);
        } catch (error) {
          reject(new Error(messageOf(error), { cause: error }));
        }
        readNoMore();
      };
    });
    const stdoutBytes = stdout.bytes();
    return {
      exitCode,
      stdout: stdoutBytes.toString("utf8"),
      stdoutBytes,
      stderr: stderr.bytes().toString("utf8"),
      timedOut,
    };
  } catch (error) {
    const hint =
      systemCode(error) === "ENOENT" ? "not found; install it or correct its path" : messageOf(error);
    throw new Failure("command_failed", `${program}: ${hint}`, { cause: error });
  } finally {
    cancel();
    cancelGrace();
  }
}

/** The first `limit` bytes of an output stream. */
class Output {
  readonly #chunks: Buffer[] = [];
  #room: number;

  constructor(limit: number) {
    this.#room = limit;
  }

  add(chunk: Buffer): void {
    if (this.#room <= 0) return;
    this.#chunks.push(chunk.subarray(0, this.#room));
    this.#room -= chunk.length;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}

/** Shorter than an extension may take over a message (SETTLE_MS). */
const TIMEOUT_MS = 20_000;

/**
 * The output of a shell command line, trimmed.
 * @param setting where the line comes from, for the error
 * @throws Failure `command_failed` when it fails or takes too long
 */
export async function commandOutput(
  command: string,
  setting: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<string> {
  const result = await runCommand(command, { clock, timeoutMs: TIMEOUT_MS, signal });
  if (result.exitCode === 0) return result.stdout.trim();
  throw new Failure("command_failed", `${setting}: the command ${failedEnd(result, TIMEOUT_MS)}`);
}
