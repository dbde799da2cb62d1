/** How far something is. */
export interface Progress {
  readonly stage: string;
  /** 0 to 100. */
  readonly percent: number;
  readonly bytes: number;
}

/** Room for the widest line below on a terminal of 80 columns. */
const BAR_WIDTH = 28;

/** Bytes in the unit a person would use: `12.3 MiB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${Math.round(bytes)} B`;
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(0)} KiB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

/** A span in the units a person would use: `1 m 05 s`. */
export function formatSpan(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${String(seconds % 60).padStart(2, "0")} s`;
  return `${Math.floor(seconds / 3600)} h ${String(Math.floor((seconds % 3600) / 60)).padStart(2, "0")} m`;
}

/** One line of a progress bar with rate, percent and time left. */
export function renderProgress(progress: Progress, elapsedMs: number): string {
  const filled = Math.round((progress.percent / 100) * BAR_WIDTH);
  const bar = "#".repeat(filled).padEnd(BAR_WIDTH, ".");
  const rate = elapsedMs > 0 ? `${formatBytes((progress.bytes * 1000) / elapsedMs)}/s` : "";
  const leftMs = progress.percent > 0 ? (elapsedMs * (100 - progress.percent)) / progress.percent : undefined;
  const left = leftMs === undefined || progress.percent >= 100 ? "" : `${formatSpan(leftMs)} left`;
  return `${progress.stage.padEnd(11)} [${bar}] ${String(progress.percent).padStart(3)} %  ${rate.padStart(10)}  ${left}`.trimEnd();
}
