import type { Clock } from "../platform/clock.ts";
import { columnsOf, type Terminal } from "./terminal.ts";

/** How far something is. */
export interface Progress {
  readonly stage: string;
  /** 0 to 100. */
  readonly percent: number;
  readonly bytes: number;
}

const MAX_BAR_WIDTH = 28;
const MIN_BAR_WIDTH = 5;
/** What the line below takes beside its bar, at most. */
const BESIDE_BAR_WIDTH = 52;
/** Before that, rate and time left would be guesses. */
const GUESS_MS = 1000;

/** Bytes in the unit a person would use: `12.3 MiB`. */
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
  return `${stage.padEnd(11)} [${bar}] ${String(percent).padStart(3)} %  ${rate.padStart(12)}  ${left}`.trimEnd();
}

/** A bar that is drawn over and over. */
export interface ProgressBar {
  show(progress: Progress): void;
  /** Leaves the line; in its place, once done, how much it was in what time. */
  end(done: boolean): void;
}

/** Draws on a terminal, and nothing elsewhere. */
export function createProgressBar(terminal: Terminal, clock: Clock): ProgressBar {
  const { stdout } = terminal;
  let startedMs: number | undefined;
  let last: Progress | undefined;
  const elapsedMs = (): number => clock.monotonic() - (startedMs ?? 0);
  return {
    show(progress) {
      if (stdout.isTTY !== true) return;
      startedMs ??= clock.monotonic();
      last = progress;
      stdout.write(`\r\x1b[K${renderProgress(progress, elapsedMs(), columnsOf(stdout))}`);
    },
    end(done) {
      if (last === undefined) return;
      stdout.write(done ? `\r\x1b[K${formatBytes(last.bytes)} in ${formatSpan(elapsedMs())}\n` : "\n");
      last = undefined;
    },
  };
}
