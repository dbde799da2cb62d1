/**
 * Runs one file of tests in a process of its own. Nothing of it is left when it ends: a child that a test
 * forgot would slow down all the files after it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestLine } from "./reporter.ts";

/** A file that hangs fails after this, instead of holding up all the others. */
const LIMIT_MS = 15 * 60_000;
/** For output that was written before the end to be read. */
const DRAIN_MS = 10_000;
const REPORTER = join(import.meta.dirname, "reporter.ts");

export interface FileResult {
  readonly file: string;
  readonly tookMs: number;
  readonly passed: number;
  readonly skipped: number;
  /** The names of the tests that failed. */
  readonly failed: readonly string[];
  /** All that it printed, without Node's counts. */
  readonly output: string;
}

/** @param stop ends it, which then counts as a failure */
export async function runFile(file: string, stop: AbortSignal): Promise<FileResult> {
  const startMs = performance.now();
  const folder = await mkdtemp(join(tmpdir(), "hublink-test-"));
  const lines = join(folder, "lines");
  const reporters = [
    ...["--test-reporter", "spec", "--test-reporter-destination", "stdout"],
    ...["--test-reporter", REPORTER, "--test-reporter-destination", lines],
  ];
  const child = spawn(process.execPath, ["--import", "tsx", ...reporters, file], {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true, // a group of its own, which ends as a whole
  });
  const killAll = (): void => killGroup(child.pid);
  const limit = AbortSignal.timeout(LIMIT_MS);
  const end = AbortSignal.any([stop, limit]);
  end.addEventListener("abort", killAll);
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  const closed = once(child, "close");
  const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  end.removeEventListener("abort", killAll);
  killAll(); // what it left behind
  // A child in a group of its own may hold the pipes open for ever, and the run would never end.
  const letGo = setTimeout(() => {
    child.stdout.destroy();
    child.stderr.destroy();
  }, DRAIN_MS);
  await closed;
  clearTimeout(letGo);
  const tests = parseLines(await readFile(lines, "utf8").catch(() => "")); // it may have failed before it had any
  await rm(folder, { recursive: true });
  const count = (is: TestLine["is"]): number => tests.filter((test) => test.is === is).length;
  const failed = tests.filter(({ is }) => is === "failed").map(({ name }) => name);
  if (code !== 0 && failed.length === 0) {
    const last = tests.findLast(({ is }) => is === "started")?.name ?? "before its first test";
    const why = limit.aborted
      ? `longer than ${LIMIT_MS / 60_000} minutes`
      : `ended with ${code ?? signal ?? "nothing"}`;
    failed.push(`${why}; last: ${last}`);
  }
  return {
    file,
    tookMs: performance.now() - startMs,
    passed: count("passed"),
    skipped: count("skipped"),
    failed,
    output: output.replaceAll(/^ℹ .*\n/gm, ""), // scripts/test prints those of all files
  };
}

function killGroup(leader: number | undefined): void {
  try {
    if (leader !== undefined) process.kill(-leader, "SIGKILL");
  } catch {
    // ESRCH: all of it has ended
  }
}

function parseLines(text: string): readonly TestLine[] {
  const whole = text.split("\n").slice(0, -1); // the last one of a killed process may be cut off
  return whole.map((line) => JSON.parse(line) as TestLine);
}
