/**
 * How much of src the tests run, by Node's own coverage: a figure for each folder. With `--cores` only the
 * tests of the pure cores run, and a branch of theirs that no test takes is a failure; CI does that. What
 * runs in the bundle, such as the commands, is not counted.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { stdout } from "node:process";
import type { FileCoverage } from "./testing/coverage-reporter.ts";

const ROOT = join(import.meta.dirname, "..");
const REPORTER = join(import.meta.dirname, "testing/coverage-reporter.ts");
const RUN_ALL = join(import.meta.dirname, "testing/run-all.ts");
/** Modules that decide without files, clocks or sockets, and their tests: these must take every branch. */
const CORES: Readonly<Record<string, string | readonly string[]>> = {
  "src/hub/device-messages.ts": ["test/link/device-messages.test.ts", "test/agent/seed-dialect.test.ts"],
  "src/update/decide.ts": ["test/update/decide.test.ts", "test/update/window.test.ts"],
  "src/update/states.ts": "test/update/states.test.ts",
  "src/update/history.ts": "test/update/history.test.ts",
  "src/download/verify.ts": "test/download/verify.test.ts",
  "src/firmware/slots.ts": "test/firmware/slots.test.ts",
  "src/firmware/framing.ts": "test/firmware/framing.test.ts",
  "src/config/environment.ts": ["test/config/check.test.ts", "test/config/load.test.ts"],
};

if (process.argv.includes("--cores")) checkCores();
else printFolders();

function checkCores(): void {
  const folder = mkdtempSync(join(tmpdir(), "hublink-coverage-"));
  const found = join(folder, "coverage");
  try {
    const reporters = ["--test-reporter", REPORTER, "--test-reporter-destination", found];
    const tests = new Set(Object.values(CORES).flat());
    const args = [...reporters, RUN_ALL, ...[...tests].map((path) => join(ROOT, path))];
    // Once more, as scripts/test does: a busy machine must not fail a good change.
    if (!run(args).passed && !run(args).passed) process.exitCode = 1;
    const files = JSON.parse(readFileSync(found, "utf8")) as readonly FileCoverage[];
    for (const core of Object.keys(CORES)) {
      const branches = files.find(({ path }) => relative(ROOT, path) === core)?.branches;
      const missed = branches === undefined ? 1 : branches.all - branches.covered;
      const where =
        missed === 0
          ? "all branches"
          : `branches missed at line ${branches?.missedAtLines.join(", ") ?? "1"}`;
      say(`${core}: ${where}`);
      if (missed > 0) process.exitCode = 1;
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Adds up the folders from the table that Node prints, in which each file counts by its length. */
function printFolders(): void {
  const all = readdirSync(join(ROOT, "test"), { recursive: true, encoding: "utf8" });
  const tests = all.filter((path) => path.endsWith(".test.ts")).map((path) => join("test", path));
  const { passed, text: table } = run([
    "--test",
    "--test-concurrency",
    "3",
    "--test-reporter",
    "tap",
    ...tests,
  ]);
  if (!passed) {
    say("tests failed: scripts/test shows which");
    process.exitCode = 1;
  }
  const folders = new Map<string, { lines: number; covered: number; branches: number }>();
  for (const [, path = "", line, branch] of table.matchAll(/^# (src\/\S+) +\| +([\d.]+) \| +([\d.]+) \|/gm)) {
    const lines = readFileSync(join(ROOT, path), "utf8").split("\n").length;
    const sum = folders.get(dirname(path)) ?? { lines: 0, covered: 0, branches: 0 };
    folders.set(dirname(path), {
      lines: sum.lines + lines,
      covered: sum.covered + lines * Number(line),
      branches: sum.branches + lines * Number(branch),
    });
  }
  say("lines %  branches %");
  for (const [folder, { lines, covered, branches }] of [...folders].sort())
    say(
      `${(covered / lines).toFixed(1).padStart(7)}${(branches / lines).toFixed(1).padStart(12)}  ${folder}`,
    );
}

/** @returns what Node prints, and whether all tests passed */
function run(args: readonly string[]): { readonly text: string; readonly passed: boolean } {
  const { status, stdout: text } = spawnSync(
    process.execPath,
    ["--import", "tsx", "--experimental-test-coverage", ...args],
    { cwd: ROOT, encoding: "utf8", maxBuffer: Infinity, stdio: ["ignore", "pipe", "inherit"] },
  );
  return { text, passed: status === 0 };
}

function say(line: string): void {
  stdout.write(`${line}\n`);
}
