/** How far a download or an upload is, in the units that people use and as a bar on a terminal. */
import type { Clock } from "../platform/clock.ts";
import { printable } from "../platform/text.ts";
import { columnsOf, type Output, type Terminal } from "./terminal.ts";

/** How far the work is. */
export interface Progress {
  readonly stage: string;
  /** 0 to 100. */
  readonly percent: number;
  readonly bytes: number;
}

const MAX_BAR_WIDTH = 28;
const MIN_BAR_WIDTH = 5;
/** The most columns that the line of {@link renderProgress} takes beside its bar. */
const BESIDE_BAR_WIDTH = 52;
/** Rate and time left are guesses before this time. */
const GUESS_MS = 1000;

/** A number of bytes in the unit a person would use: `12.3 MiB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${Math.round(bytes)} B`;
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(0)} KiB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

/** A span in the units a person would use: `1 m 05 s`. */
export function formatSpan(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const two = (count: number): string => String(Math.floor(count)).padStart(2, "0");
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${two(seconds % 60)} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${two((seconds % 3600) / 60)} m`;
  return `${Math.floor(seconds / 86_400)} d ${two((seconds % 86_400) / 3600)} h`;
}

/** One line of a progress bar with percent, rate and time left. */
export function renderProgress(progress: Progress, elapsedMs: number, columns = 80): string {
  const { stage, percent, bytes } = progress;
  const width = Math.max(MIN_BAR_WIDTH, Math.min(MAX_BAR_WIDTH, columns - BESIDE_BAR_WIDTH));
  const bar = "#".repeat(Math.round((percent / 100) * width)).padEnd(width, ".");
  const known = elapsedMs >= GUESS_MS;
  const rate = known ? `${formatBytes((bytes * 1000) / elapsedMs)}/s` : "";
  const leftMs = known && percent > 0 && percent < 100 ? (elapsedMs * (100 - percent)) / percent : undefined;
  const left = leftMs === undefined ? "" : `${formatSpan(leftMs)} left`;
  return `${printable(stage).padEnd(11)} [${bar}] ${String(percent).padStart(3)} %  ${rate.padStart(12)}  ${left}`.trimEnd();
}

/** A bar on a terminal, drawn again with each change; it draws nothing on a pipe. */
export class ProgressBar {
  readonly #stdout: Output;
  readonly #clock: Clock;
  #startedMs: number | undefined;
  #last: Progress | undefined;

  constructor({ stdout }: Terminal, clock: Clock) {
    this.#stdout = stdout;
    this.#clock = clock;
  }

  show(progress: Progress): void {
    if (this.#stdout.isTTY !== true) return;
    this.#startedMs ??= this.#clock.monotonic();
    this.#last = progress;
    const line = renderProgress(progress, this.#elapsedMs(), columnsOf(this.#stdout));
    this.#stdout.write(`\r\x1b[K${line}`);
  }

  /** Leaves the bar's line. When the work is done, the line says how many bytes it was and in what time. */
  end(done: boolean): void {
    if (this.#last === undefined) return;
    const summary = `\r\x1b[K${formatBytes(this.#last.bytes)} in ${formatSpan(this.#elapsedMs())}`;
    this.#stdout.write(done ? `${summary}\n` : "\n");
    this.#last = undefined;
  }

  #elapsedMs(): number {
    return this.#clock.monotonic() - (this.#startedMs ?? 0);
  }
}
