/** The output of scripts/test: a line for each file, and a summary at the end. */
import type { FileResult } from "./run-file.ts";

const SLOWEST = 5;

/** One line, for 80 columns. */
export function fileLine({ file, tookMs, passed, skipped, failed }: FileResult): string {
  const counts = [
    ...(failed.length > 0 ? [`${failed.length} failed`] : []),
    `${passed} passed`,
    ...(skipped > 0 ? [`${skipped} skipped`] : []),
  ];
  return `${failed.length > 0 ? "✖" : "✔"} ${seconds(tookMs).padStart(7)}  ${file}  ${counts.join(", ")}`;
}

/**
 * The last lines of a run.
 * @param results of each file, from its last run
 * @param flaky those that failed, and passed when they were run again
 */
export function closingLines(
  results: readonly FileResult[],
  flaky: readonly FileResult[],
  tookMs: number,
): readonly string[] {
  const total = (count: (result: FileResult) => number): number =>
    results.reduce((sum, result) => sum + count(result), 0);
  const passed = total((result) => result.passed);
  const failed = total((result) => result.failed.length);
  const skipped = total((result) => result.skipped);
  const slowest = results.toSorted((a, b) => b.tookMs - a.tookMs).slice(0, SLOWEST);
  return [
    ...slowest.map(({ file, tookMs }) => `slow: ${file} (${seconds(tookMs)})`),
    ...flaky.map((result) => `flaky: ${result.file} (${result.failed.join("; ")})`),
    ...results
      .filter((result) => result.failed.length > 0)
      .map((result) => `failed: ${result.file} (${result.failed.join("; ")})`),
    `ℹ tests ${passed + failed + skipped}`,
    `ℹ pass ${passed}`,
    `ℹ fail ${failed}`,
    `ℹ skipped ${skipped}`,
    `ℹ duration_ms ${Math.round(tookMs)}`,
    `${passed} passed, ${failed} failed, ${skipped} skipped`,
  ];
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
