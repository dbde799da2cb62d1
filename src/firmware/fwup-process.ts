/**
 * One run of fwup: its input in frames, its reports, its end. fwup takes no lock and handles no signal, so
 * there is one at a time, in a process group that is killed whole. fwup's OK counts only together with the
 * end of the input: a file whose end is wrong has otherwise been seen to finish.
 */
import type { ChildProcess } from "node:child_process";
import { addAbortListener } from "node:events";
import type { Writable } from "node:stream";
import { isRunning, signalGroup, spawnGroup } from "../platform/child.ts";
import type { Cancel, Clock } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import { oneLine } from "../platform/text.ts";
import { END_OF_INPUT, frameHeader, FrameReader, type FwupFrame } from "./framing.ts";
import { STARTED_BY, startedByThis } from "./fwup-starter.ts";
import { StallWatch } from "./stall-watch.ts";

/**
 * Bytes of an archive for fwup's stdin. A chunk need only stay valid until the next but one is asked for.
 * The source ends, by throwing, soon after `signal`, which is aborted when fwup has ended without success.
 */
export type FwupSource = (signal: AbortSignal) => AsyncIterable<Uint8Array>;

export interface FwupRun {
  readonly fwup: string;
  /** Without `--framing`. */
  readonly args: readonly string[];
  /** Added to the agent's own environment; fwup puts it into the archive's `${NAME}`s. */
  readonly env?: Readonly<Record<string, string>>;
  readonly clock: Clock;
  /** The longest time in which fwup may neither read a byte nor report progress while it has work. */
  readonly stallMs: number;
  /** Kills fwup. */
  readonly signal?: AbortSignal;
  /** Percentage from 0 to 100; 100 means written and closed, not yet on the disk. */
  readonly onProgress?: (percent: number) => void;
  /** Gets the texts of the archive's `info()` and of fwup's warnings. */
  readonly onWarning?: (text: string) => void;
}

/** Frames given to fwup; small enough that a slow disk shows as slow, not as stalled. */
const FRAME_BYTES = 64 * 1024;
/** What may follow after fwup's OK. fwup stops at the archive's directory; a body without end must not be drawn for hours. */
const MAX_REST_BYTES = 16 * 1024 * 1024;
/** fwup's last words are in its pipes when it ends; they are read within this time. */
const LAST_WORDS_MS = 2000;
const MAX_STDERR_CHARS = 8 * 1024;
const MAX_REASON_CHARS = 1000;

/** One fwup at a time: two on one device ruin the slot, and both return 0. */
let running: FwupProcess | undefined;

/** The process group of the fwup at work, if there is one. */
export function fwupGroup(): number | undefined {
  return running?.group;
}

/**
 * Runs one framed fwup to its end; success is its OK frame and exit status 0, and `source` at its end.
 * fwup stops at the archive's directory. The bytes that it does not read are drawn all the same, so that
 * checks in `source` have the last word. When this settles, no process is left.
 * @param source input for its stdin; without one its stdin is closed
 * @throws Failure `fwup_…`; what `source` throws (fwup is killed first); the signal's reason
 */
export async function runFwup(run: FwupRun, source?: FwupSource): Promise<void> {
  run.signal?.throwIfAborted();
  if (running !== undefined) {
    throw new Failure("fwup_busy", "fwup is already at work; try again when it has finished");
  }
  running = new FwupProcess(run);
  try {
    await running.supervise(source);
  } finally {
    running = undefined;
  }
}

interface Ending {
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly startError?: Error;
}

class FwupProcess {
  readonly #run: FwupRun;
  readonly #child: ChildProcess;
  readonly #watch: StallWatch;
  #verdict: Extract<FwupFrame, { type: "ok" | "error" }> | undefined;
  #lastWarning = "";
  #stderr = "";
  /** Aborted when fwup has ended without success, or its input goes on and on after its OK. */
  readonly #enough = new AbortController();
  #endOfRest: Cancel | undefined;
  #endless: Failure | undefined;

  constructor(run: FwupRun) {
    this.#run = run;
    const env = { ...process.env, ...run.env, [STARTED_BY]: startedByThis() };
    this.#child = spawnGroup(run.fwup, ["--framing", ...run.args], { env });
    this.#watch = new StallWatch(run.clock, run.stallMs, () => this.#kill());
    this.#listen();
  }

  get group(): number | undefined {
    return this.#child.pid;
  }

  async supervise(source: FwupSource | undefined): Promise<void> {
    const { signal } = this.#run;
    using _listener = signal && addAbortListener(signal, () => this.#kill());
    const feeding = this.#feed(source?.(this.#enough.signal)).then(
      () => undefined,
      (error: unknown) => {
        if (this.#enough.signal.aborted) return undefined; // the source was ended because fwup had ended
        this.#kill();
        return { error };
      },
    );
    const ending = await this.#ended();
    this.#watch.stop();
    const ok = this.#verdict?.type === "ok" && ending.exitCode === 0;
    if (!ok) this.#enough.abort(new Error("fwup has ended"));
    const fault = await feeding;
    this.#endOfRest?.();
    if (this.#endless !== undefined) throw this.#endless;
    if (!ok) {
      if (ending.startError !== undefined) throw notStarted(this.#run.fwup, ending.startError);
      if (fault !== undefined) throw fault.error;
      signal?.throwIfAborted();
      throw this.#failure(ending);
    }
    if (fault !== undefined) {
      const text = `fwup finished, but the rest of its input failed: ${messageOf(fault.error)}`;
      throw new Failure("fwup_unproven", text, { cause: fault.error });
    }
  }

  /**
   * Gives `source` to fwup; when fwup reads no more, draws it to its end. While fwup reads a chunk the next
   * one is asked for: neither waits for the other.
   */
  async #feed(source: AsyncIterable<Uint8Array> | undefined): Promise<void> {
    const { stdin } = this.#child;
    stdin?.on("error", () => undefined); // EPIPE: fwup reads no further than it must; its verdict counts
    let given: Promise<void> | undefined;
    let restBytes = 0;
    for await (const chunk of source ?? []) {
      await given;
      if (this.#endOfRest !== undefined) restBytes += chunk.length;
      if (restBytes > MAX_REST_BYTES) this.#endRest(`${MAX_REST_BYTES / 1024 / 1024} MiB`);
      if (this.#endless !== undefined) break;
      given = this.#giveInFrames(stdin, chunk);
    }
    await given;
    this.#watch.start();
    stdin?.end(source === undefined ? undefined : END_OF_INPUT);
  }

  /** Resolves when fwup has read the chunk or reads no more; one frame at a time. */
  async #giveInFrames(stdin: Writable | null, chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; at += FRAME_BYTES) {
      this.#watch.start();
      if (await give(stdin, chunk.subarray(at, at + FRAME_BYTES))) this.#watch.pause(); // fwup waits for us now
    }
  }

  /** Reads both outputs to their end: fwup dies of SIGPIPE when nobody does. */
  #listen(): void {
    const { stdout, stderr } = this.#child;
    const reader = new FrameReader();
    stdout?.on("data", (chunk: Buffer) => {
      for (const frame of reader.read(chunk)) this.#onFrame(frame);
    });
    stdout?.on("end", () => {
      const { skippedBytes } = reader;
      if (skippedBytes > 0) this.#run.onWarning?.(`${skippedBytes} bytes beside fwup's own words`);
    });
    stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-MAX_STDERR_CHARS);
    });
  }

  #onFrame(frame: FwupFrame): void {
    const { onProgress, onWarning } = this.#run;
    this.#watch.progressed();
    switch (frame.type) {
      case "progress":
        onProgress?.(frame.percent);
        break;
      case "warning":
        this.#lastWarning = frame.text;
        onWarning?.(frame.text);
        break;
      case "unknown":
        onWarning?.(`${frame.name}: ${frame.text}`);
        break;
      default:
        this.#verdict = frame;
        if (frame.type === "ok") this.#limitRest();
    }
  }

  #limitRest(): void {
    const { clock, stallMs } = this.#run;
    this.#endOfRest ??= clock.after(stallMs, () => this.#endRest(`${Math.round(stallMs / 1000)} s`));
  }

  #endRest(limit: string): void {
    const text = `fwup finished, but its input goes on for more than ${limit} after the archive's end`;
    this.#endless = new Failure("fwup_unproven", text);
    this.#enough.abort(this.#endless);
    this.#kill();
  }

  async #ended(): Promise<Ending> {
    const child = this.#child;
    return new Promise((resolve) => {
      child.once("error", (startError) => {
        if (child.pid === undefined) resolve({ exitCode: null, signal: null, startError });
      });
      // A program that an execute() left running would hold the pipes open, and `close` would not come.
      let cancel: Cancel | undefined;
      child.once("exit", () => {
        this.#endGroup();
        cancel = this.#run.clock.after(LAST_WORDS_MS, () => this.#readNoMore()); // for one that left the group
      });
      child.once("close", (exitCode: number | null, signal: NodeJS.Signals | null) => {
        cancel?.();
        resolve({ exitCode, signal });
      });
    });
  }

  /** What is in the pipes is read first: after a timer come the events of files, and then the immediates. */
  #readNoMore(): void {
    setImmediate(() => {
      this.#child.stdout?.destroy();
      this.#child.stderr?.destroy();
    });
  }

  /** By SIGKILL, since fwup handles no signal anyway. */
  #kill(): void {
    if (isRunning(this.#child)) this.#endGroup();
  }

  /** It is called by events and timers, where an error would end the agent. */
  #endGroup(): void {
    try {
      signalGroup(this.#child);
    } catch (error) {
      // EPERM: all that is left belongs to another user. Its pipes are closed all the same.
      this.#run.onWarning?.(`what fwup started can't be ended: ${messageOf(error)}`);
    }
  }

  #failure(ending: Ending): Failure {
    if (this.#watch.stalled) {
      const seconds = Math.round(this.#run.stallMs / 1000);
      const text = `fwup took no byte and reported no progress for ${seconds} s and was ended`;
      return new Failure("fwup_stalled", text);
    }
    const details = lastLine(this.#stderr);
    if (this.#verdict?.type === "error") {
      // Standard error often says more: for an archive that needs a later fwup the frame says only
      // "Unexpected error parsing meta.conf".
      const reason = shortened(this.#verdict.text) || "fwup failed without a reason";
      return new Failure("fwup_refused", details === "" ? reason : `${reason} (${details})`);
    }
    const words = details || shortened(this.#lastWarning);
    // The agent's own SIGKILL comes with a reason of its own; anybody else's is most likely the kernel's.
    const code = ending.signal === "SIGKILL" ? "fwup_killed" : "fwup_crashed";
    return new Failure(code, `fwup ${howItEnded(ending)}${words === "" ? "" : `: ${words}`}`);
  }
}

/** Resolves to true when fwup has read the frame, to false when it reads no more. */
async function give(stdin: Writable | null, payload: Uint8Array): Promise<boolean> {
  if (stdin === null) return false;
  return new Promise((resolve) => {
    stdin.cork();
    stdin.write(frameHeader(payload.length));
    stdin.write(payload, () => resolve(stdin.writable));
    stdin.uncork();
  });
}

function notStarted(fwup: string, error: Error): Failure {
  const code = systemCode(error);
  const hint = code === "ENOENT" ? "not found; install it or correct firmware.fwup" : messageOf(error);
  return new Failure("fwup_missing", `${fwup}: ${hint}`, { cause: error });
}

function howItEnded({ exitCode, signal }: Ending): string {
  if (exitCode === null) return `was killed by ${signal ?? "a signal"}`;
  return exitCode === 0 ? "ended without saying OK" : `ended with exit status ${exitCode}`;
}

function lastLine(text: string): string {
  return shortened(text.trim().split("\n").at(-1) ?? "");
}

function shortened(text: string): string {
  return oneLine(text).slice(0, MAX_REASON_CHARS);
}
