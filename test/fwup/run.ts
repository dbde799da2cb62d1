/** Runs a fwup, real or stand-in, as a child process, and takes its frames apart. */
import { spawn } from "node:child_process";
import { accessSync, constants, realpathSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Writable } from "node:stream";
import { inTime } from "../eventually.ts";

/** The stand-in as an executable. */
export const STAND_IN = realpathSync(join(import.meta.dirname, "../bin/fwup"));

/** The fwup that the PATH has, if it is a real one. */
export function realFwup(): string | undefined {
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .map((folder) => join(folder, "fwup"))
    .find((path) => isExecutable(path) && realpathSync(path) !== STAND_IN);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // not there, or not ours to run
  }
}

export interface FwupRun {
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  /** Writes its standard input, and ends it or not; by default it is empty. */
  readonly feed?: (stdin: Writable) => void;
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Runs a fwup to its end. It may end before it has read all of its input. */
export async function runFwup(
  fwup: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<FwupRun> {
  const child = spawn(fwup, args, {
    env: { ...process.env, ...options.env },
    cwd: options.cwd,
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
  child.stdin.on("error", () => undefined); // EPIPE: see above
  if (options.feed === undefined) child.stdin.end();
  else options.feed(child.stdin);
  const ended = new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (...how) => resolve(how));
  });
  const [exitCode, signal] = await inTime(ended, `the end of fwup ${args.join(" ")}`).finally(() => {
    child.kill("SIGKILL"); // it may hang
    child.stdin.destroy();
  });
  return { exitCode, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() };
}

/** A frame of fwup's output: `PR` has a percentage as its code, the others have a text. */
export interface Frame {
  readonly type: string;
  readonly code: number;
  readonly text: string;
}

/** Takes apart what fwup wrote with `-F`. */
export function parseFrames(stdout: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < stdout.length;) {
    const length = stdout.readUInt32BE(at);
    const payload = stdout.subarray(at + 4, at + 4 + length);
    if (length < 4 || payload.length < length) throw new Error(`fwup wrote a broken frame at byte ${at}`);
    frames.push({
      type: payload.toString("latin1", 0, 2),
      code: payload.readUInt16BE(2),
      text: payload.toString("utf8", 4),
    });
    at += 4 + length;
  }
  return frames;
}

/** Cuts bytes into input frames of a size; without the empty one that ends the input. */
export function toFrames(bytes: Buffer, frameBytes: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += frameBytes) {
    const payload = bytes.subarray(at, at + frameBytes);
    const header = Buffer.alloc(4);
    header.writeUInt32BE(payload.length);
    parts.push(header, payload);
  }
  return Buffer.concat(parts);
}

/** The frame that ends the input. */
export const END_FRAME = Buffer.alloc(4);
