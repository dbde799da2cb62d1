/**
 * Runs files of tests, more of them at a time than there are processors: most wait for children and sockets
 * now and then. A file that fails is run once more, alone, at the end; if it passes then, it is named as
 * flaky, and does not fail the run.
 */
import { availableParallelism } from "node:os";
import { relative } from "node:path";
import { stdout } from "node:process";
import { closingLines, fileLine } from "./testing/closing-lines.ts";
import { longestFirst } from "./testing/order.ts";
import { runFile, type FileResult } from "./testing/run-file.ts";

const AT_ONCE = availableParallelism() + 1;

const interrupted = new AbortController();
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)
  process.once(signal, () => {
    interrupted.abort();
    process.exit(code);
  });

const startMs = performance.now();
const files = process.argv.slice(2).map((file) => relative("", file));
const first = await runAll(longestFirst(files), AT_ONCE);
const failing = first.filter(failed);
if (failing.length > 0) say(`\nOnce more, alone: ${failing.map(({ file }) => file).join(" ")}`);
const second = await runAll(
  failing.map(({ file }) => file),
  1,
);
const last = first.map((result) => second.find(({ file }) => file === result.file) ?? result);
const flaky = failing.filter((result) => !last.some((again) => again.file === result.file && failed(again)));
say("");
for (const line of closingLines(last, flaky, performance.now() - startMs)) say(line);
process.exitCode = last.some(failed) ? 1 : 0;

/** @returns in the order in which they ended */
async function runAll(files: readonly string[], atOnce: number): Promise<FileResult[]> {
  const waiting = files.values(); // shared: each worker takes the next one
  const results: FileResult[] = [];
  const work = async (): Promise<void> => {
    for (const file of waiting) {
      const result = await runFile(file, interrupted.signal);
      results.push(result);
      if (failed(result)) say(`\n${result.output.trimEnd()}`);
      say(fileLine(result));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return results;
}

function failed(result: FileResult): boolean {
  return result.failed.length > 0;
}

function say(line: string): void {
  stdout.write(`${line}\n`);
}
