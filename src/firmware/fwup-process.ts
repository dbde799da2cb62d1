import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import type { Writable } from "node:stream";
import type { Cancel, Clock } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import { oneLine } from "../platform/text.ts";
import { createFrameReader, END_OF_INPUT, frameHeader, type FwupFrame } from "./framing.ts";

/**
 * Bytes of an archive for fwup's stdin; a chunk need only stay as it is until the next but one is asked
 * for. The source ends, by throwing, soon after `signal`, which says that fwup has ended without success.
 */
export type FwupSource = (signal: AbortSignal) => AsyncIterable<Uint8Array>;

export interface FwupRun {
  readonly fwup: string;
  /** Without `--framing`. */
  readonly args: readonly string[];
  /** Added to the agent's own environment; fwup puts it into the archive's `${NAME}`s. */
  readonly env?: Readonly<Record<string, string>>;
  readonly clock: Clock;
  /** The longest that fwup may neither take a byte nor report progress while it has something to do. */
  readonly stallMs: number;
  /** Kills fwup. */
  readonly signal?: AbortSignal;
  /** Percentage from 0 to 100; 100 means written and closed, not yet on the disk. */
  readonly onProgress?: (percent: number) => void;
  /** What the archive's `info()` and fwup's warnings say. */
  readonly onWarning?: (text: string) => void;
}

/** Frames given to fwup; small enough that a slow disk shows as slow, not as stalled. */
const FRAME_BYTES = 64 * 1024;
const MAX_STDERR_CHARS = 8 * 1024;
const MAX_REASON_CHARS = 1000;

/** One fwup at a time: it takes no lock, and two on one device ruin the slot and both return 0. */
let running = false;

/**
 * Runs one framed fwup to its end; success is its OK frame and exit status 0, and `source` at its end.
 * fwup stops at the archive's directory: what it does not read is drawn all the same, so that checks in
 * `source` have the last word. When this settles, no process is left.
 * @param source input for its stdin; without one its stdin is closed
 * @throws Failure `fwup_…`; what `source` throws (fwup is killed first); the signal's reason
 */
export async function runFwup(run: FwupRun, source?: FwupSource): Promise<void> {
  run.signal?.throwIfAborted();
  if (running) {
    throw new Failure("fwup_busy", "fwup is already at work; try again when it has finished");
  }
  running = true;
  try {
    await supervise(run, source);
  } finally {
    running = false;
  }
}

interface Ending {
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly startError?: Error;
}

async function supervise(run: FwupRun, source: FwupSource | undefined): Promise<void> {
  const child = spawn(run.fwup, ["--framing", ...run.args], {
    detached: true, // a process group of its own, so that an execute() of the archive ends with it
    env: { ...process.env, ...run.env },
  });
  const kill = (): void => {
    if (child.exitCode === null && child.signalCode === null) killGroup(child);
  };
  const watch = createWatch(run.clock, run.stallMs, kill);
  const said = listen(child, run, watch.touch);
  run.signal?.addEventListener("abort", kill, { once: true });
  const failed = new AbortController();
  const feeding = feed(child.stdin, source?.(failed.signal), watch).then(
    () => undefined,
    (error: unknown) => {
      if (failed.signal.aborted) return undefined; // it was told to end
      kill();
      return { error };
    },
  );

  const ending = await endingOf(child);
  watch.stop();
  run.signal?.removeEventListener("abort", kill);
  const verdict = said.verdict();
  const ok = verdict?.type === "ok" && ending.exitCode === 0;
  if (!ok) failed.abort(new Error("fwup has ended"));
  const fault = await feeding;

  if (ok && fault === undefined) return;
  if (ok) {
    const why = messageOf(fault?.error);
    throw new Failure("fwup_unproven", `fwup finished, but the rest of its input failed: ${why}`, {
      cause: fault?.error,
    });
  }
  if (ending.startError !== undefined) throw notStarted(run.fwup, ending.startError);
  if (fault !== undefined) throw fault.error;
  run.signal?.throwIfAborted();
  if (watch.stalled()) {
    const seconds = Math.round(run.stallMs / 1000);
    const text = `fwup took no byte and reported no progress for ${seconds} s and was ended`;
    throw new Failure("fwup_stalled", text);
  }
  if (verdict?.type === "error") throw new Failure("fwup_refused", reason(verdict.text, said.stderr()));
  throw new Failure("fwup_crashed", `fwup ${howItEnded(ending)}${lastWords(said)}`);
}

/**
 * Gives `source` to fwup; when fwup reads no more, draws it to its end. While fwup takes a chunk the next
 * one is asked for: neither waits for the other.
 */
async function feed(
  stdin: Writable,
  source: AsyncIterable<Uint8Array> | undefined,
  watch: Watch,
): Promise<void> {
  stdin.on("error", () => undefined); // EPIPE: fwup reads no further than it must; its verdict counts
  let taken: Promise<void> | undefined;
  for await (const chunk of source ?? []) {
    await taken;
    taken = giveInFrames(stdin, chunk, watch);
  }
  await taken;
  watch.start();
  stdin.end(source === undefined ? undefined : END_OF_INPUT);
}

/** Resolves when fwup took the chunk or reads no more; one frame at a time. */
async function giveInFrames(stdin: Writable, chunk: Uint8Array, watch: Watch): Promise<void> {
  for (let at = 0; at < chunk.length; at += FRAME_BYTES) {
    watch.start();
    if (await give(stdin, chunk.subarray(at, at + FRAME_BYTES))) watch.pause(); // it waits for us now
  }
}

/** Resolves to true when fwup took the frame, to false when it reads no more. */
async function give(stdin: Writable, payload: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => {
    stdin.cork();
    stdin.write(frameHeader(payload.length));
    stdin.write(payload, () => resolve(stdin.writable));
    stdin.uncork();
  });
}

interface Said {
  verdict(): Extract<FwupFrame, { type: "ok" | "error" }> | undefined;
  lastWarning(): string | undefined;
  stderr(): string;
}

/** Reads both outputs to their end: fwup dies of SIGPIPE when nobody does. */
function listen(child: ChildProcessWithoutNullStreams, run: FwupRun, onFrame: () => void): Said {
  const reader = createFrameReader();
  let verdict: Extract<FwupFrame, { type: "ok" | "error" }> | undefined;
  let lastWarning: string | undefined;
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => {
    for (const frame of reader.read(chunk)) {
      onFrame();
      if (frame.type === "progress") run.onProgress?.(frame.percent);
      if (frame.type === "ok" || frame.type === "error") verdict = frame;
      if (frame.type === "warning") {
        lastWarning = frame.text;
        run.onWarning?.(frame.text);
      }
      if (frame.type === "unknown") run.onWarning?.(`${frame.name}: ${frame.text}`);
    }
  });
  child.stdout.on("end", () => {
    if (reader.skippedBytes > 0) run.onWarning?.(`${reader.skippedBytes} bytes beside fwup's own words`);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-MAX_STDERR_CHARS);
  });
  return { verdict: () => verdict, lastWarning: () => lastWarning, stderr: () => stderr };
}

async function endingOf(child: ChildProcessWithoutNullStreams): Promise<Ending> {
  return new Promise((resolve) => {
    child.once("error", (startError) => {
      if (child.pid === undefined) resolve({ exitCode: null, signal: null, startError });
    });
    // What an execute() left running would hold the pipes open, and so the end back.
    child.once("exit", () => killGroup(child));
    child.once("close", (exitCode: number | null, signal: NodeJS.Signals | null) => {
      resolve({ exitCode, signal });
    });
  });
}

/** SIGKILL, since fwup handles no signal anyway. */
function killGroup(child: ChildProcessWithoutNullStreams): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  } catch (error) {
    if (systemCode(error) !== "ESRCH") throw error; // ESRCH: nothing is left of it
  }
}

/** Tells a fwup that does nothing from one that is slow. */
interface Watch {
  /** fwup has something to do from now on. */
  readonly start: () => void;
  /** It showed a sign of life. */
  readonly touch: () => void;
  /** It has nothing to do. */
  readonly pause: () => void;
  /** It has ended. */
  readonly stop: () => void;
  readonly stalled: () => boolean;
}

function createWatch(clock: Clock, stallMs: number, onStall: () => void): Watch {
  let cancel: Cancel | undefined;
  let over = false;
  let stalled = false;
  const pause = (): void => {
    cancel?.();
    cancel = undefined;
  };
  const start = (): void => {
    pause();
    if (over) return;
    cancel = clock.after(stallMs, () => {
      stalled = true;
      onStall();
    });
  };
  return {
    start,
    pause,
    touch() {
      if (cancel !== undefined) start();
    },
    stop() {
      over = true;
      pause();
    },
    stalled: () => stalled,
  };
}

function notStarted(fwup: string, error: Error): Failure {
  const code = systemCode(error);
  const hint = code === "ENOENT" ? "not found; install it or correct firmware.fwup" : messageOf(error);
  return new Failure("fwup_missing", `${fwup}: ${hint}`, { cause: error });
}

/**
 * fwup's reason; its standard error often says more: for an archive that needs a later fwup the frame
 * says only "Unexpected error parsing meta.conf".
 */
function reason(text: string, stderr: string): string {
  const more = lastLine(stderr);
  const said = shortened(text) || "fwup failed without a reason";
  return more === "" ? said : `${said} (${more})`;
}

function howItEnded({ exitCode, signal }: Ending): string {
  if (exitCode === null) return `was killed by ${signal ?? "a signal"}`;
  return exitCode === 0 ? "ended without saying OK" : `ended with exit status ${exitCode}`;
}

function lastWords(said: Said): string {
  const words = lastLine(said.stderr()) || shortened(said.lastWarning() ?? "");
  return words === "" ? "" : `: ${words}`;
}

function lastLine(text: string): string {
  return shortened(text.trim().split("\n").at(-1) ?? "");
}

function shortened(text: string): string {
  return oneLine(text).slice(0, MAX_REASON_CHARS);
}
