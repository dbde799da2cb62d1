import { spawn, type SpawnOptions } from "node:child_process";
import type { Clock } from "./clock.ts";
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
  /** The same, for output that is no text. */
  readonly stdoutBytes: Buffer;
  readonly stderr: string;
  readonly timedOut: boolean;
}

const MAX_OUTPUT_BYTES = 64 * 1024;

/** Of what a command says about its failure, characters. */
const MAX_WORDS = 200;

/**
 * How a command ended that did not succeed, with its own words: `ended with 3: no lamp here`. The words may
 * go to the hub: they are redacted.
 */
export function failedEnd({ exitCode, timedOut, stderr }: CommandResult, timeoutMs: number): string {
  const end = timedOut ? `took longer than ${timeoutMs / 1000} s` : `ended with ${exitCode ?? "a signal"}`;
  const words = redact(stderr.trim()).slice(0, MAX_WORDS);
  return words === "" ? end : `${end}: ${words}`;
}

/**
 * Runs a program to its end, in a process group of its own so that its children end with it.
 * @param command a program with its arguments, or a line for `/bin/sh -c`
 * @throws Failure `unavailable` when the program can't be started
 */
export async function runCommand(
  command: readonly string[] | string,
  options: CommandOptions,
): Promise<CommandResult> {
  const [program, ...args] = typeof command === "string" ? ["/bin/sh", "-c", command] : command;
  if (program === undefined) throw new Failure("config", "the command to run is empty");
  const limit = options.maxOutputBytes ?? MAX_OUTPUT_BYTES;
  const stdout = createOutput(limit);
  const stderr = createOutput(limit);
  let timedOut = false;
  let kill = (): void => undefined;
  const cancel = options.clock.after(options.timeoutMs, () => {
    timedOut = true;
    kill();
  });
  const onAbort = (): void => kill();
  options.signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const exitCode = await new Promise<number | null>((resolve, reject) => {
      // Not typed as one with streams: when no file descriptor is free, Node makes none.
      const spawnOptions: SpawnOptions = {
        detached: true,
        env: { ...process.env, ...options.env },
        stdio: ["pipe", "pipe", "pipe", ...(options.files ?? [])],
      };
      const child = spawn(program, args, spawnOptions);
      child.once("error", reject);
      child.once("close", resolve);
      child.stdout?.on("data", stdout.add);
      child.stderr?.on("data", stderr.add);
      child.stdin?.on("error", () => undefined); // EPIPE: it may end without reading its input
      child.stdin?.end(options.stdin ?? "");
      kill = () => {
        try {
          if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
        } catch (error) {
          // ESRCH: it has just ended by itself.
          if (systemCode(error) !== "ESRCH") reject(new Error(messageOf(error), { cause: error }));
        }
        // A daemon that has left the group may hold them open for ever.
        child.stdout?.destroy();
        child.stderr?.destroy();
      };
      if (options.signal?.aborted === true) kill();
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
    throw new Failure("unavailable", `${program}: ${hint}`, { cause: error });
  } finally {
    cancel();
    options.signal?.removeEventListener("abort", onAbort);
  }
}

/** What a stream says, up to `limit` bytes. */
function createOutput(limit: number): { add: (chunk: Buffer) => void; bytes: () => Buffer } {
  const chunks: Buffer[] = [];
  let size = 0;
  return {
    add(chunk) {
      const room = limit - size;
      if (room <= 0) return;
      chunks.push(chunk.subarray(0, room));
      size += Math.min(chunk.length, room);
    },
    bytes: () => Buffer.concat(chunks),
  };
}

/** Below what an extension's message may take. */
const TIMEOUT_MS = 20_000;

/**
 * What a line for the shell prints, trimmed.
 * @param setting where the line comes from, for the error
 * @throws Failure `unavailable` when it does not end well
 */
export async function commandOutput(
  command: string,
  setting: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<string> {
  const result = await runCommand(command, { clock, timeoutMs: TIMEOUT_MS, signal });
  if (result.exitCode === 0) return result.stdout.trim();
  throw new Failure("unavailable", `${setting}: the command ${failedEnd(result, TIMEOUT_MS)}`);
}
