/**
 * The results of runs, kept in docs/figures/torture.jsonl: one line of JSON for each kind of rounds in a run. Lines are
 * only added, and add up: rounds of several sessions and machines make one figure, which docs/figures.md shows.
 */
import { execFileSync } from "node:child_process";
import { appendFileSync, readFileSync } from "node:fs";
import * as v from "valibot";
import { WRONGS } from "./checks.ts";
import { KINDS } from "./plan.ts";
import type { Played } from "./round.ts";

const Count = v.pipe(v.number(), v.integer(), v.minValue(0));

const RunResult = v.strictObject({
  /** The end of the run. */
  date: v.pipe(v.string(), v.isoTimestamp()),
  /** The commit of hublink; "+" at its end: with changes that were not committed. */
  commit: v.pipe(v.string(), v.regex(/^[0-9a-f]{12}\+?$/)),
  /** fwup's version, or "stand-in". */
  fwup: v.string(),
  kind: v.picklist(KINDS),
  /** Of the run; `npm run torture -- --seed SEED --rounds RUN_ROUNDS` plays it again. */
  seed: Count,
  /** Rounds of this kind. */
  rounds: Count,
  /** Rounds of all kinds in the run. */
  runRounds: Count,
  /** Whether the run had rounds of this kind only. */
  only: v.boolean(),
  /** How long the run took, all kinds together. */
  runSeconds: Count,
  /** Rounds in which each fault was drawn. */
  faults: v.record(v.string(), Count),
  powerCuts: Count,
  /** Agents that hung until the watchdog reset their board. */
  hung: Count,
  /** Rounds in which this went wrong; without those that are explained. */
  wrong: v.strictObject(v.entriesFromList(WRONGS, v.optional(Count, 0))),
  /** Seeds of the rounds in which something went wrong. */
  wrongSeeds: v.array(Count),
  /** Rounds in which something went wrong that the agent can't prevent, by the reason. */
  explained: v.record(v.string(), Count),
  /** What the download server sent, and the sizes of the firmware: bytes per needed byte is their ratio. */
  sentBytes: Count,
  neededBytes: Count,
});

/** The rounds of one kind in a run. */
type RunResult = v.InferOutput<typeof RunResult>;

/** A run of which the results are kept. */
export interface Run {
  readonly fwup: string;
  readonly seed: number;
  readonly only: boolean;
  readonly startedMs: number;
}

/** The results of a run, one for each kind of its rounds. */
function resultsOf(played: readonly Played[], run: Run, commit: string, nowMs: number): RunResult[] {
  const kinds = KINDS.filter((kind) => played.some((round) => round.kind === kind));
  return kinds.map((kind) => {
    const rounds = played.filter((round) => round.kind === kind);
    const outcomes = rounds.map(({ outcome }) => outcome);
    const sum = (of: (outcome: Played["outcome"]) => number): number =>
      outcomes.reduce((total, outcome) => total + of(outcome), 0);
    const withWrong = (wrong: (typeof WRONGS)[number]): number =>
      sum(({ problems }) => (problems.some((problem) => problem.wrong === wrong) ? 1 : 0));
    return {
      date: new Date(nowMs).toISOString(),
      commit,
      fwup: run.fwup,
      kind,
      seed: run.seed,
      rounds: rounds.length,
      runRounds: played.length,
      only: run.only,
      runSeconds: Math.round((nowMs - run.startedMs) / 1000),
      faults: counted(rounds.flatMap(({ faults }) => [...new Set(faults)])),
      powerCuts: sum(({ cuts }) => cuts),
      hung: sum(({ hung }) => hung.length),
      wrong: {
        "bad boot": withWrong("bad boot"),
        "wrong bytes": withWrong("wrong bytes"),
        "not done": withWrong("not done"),
        waiting: withWrong("waiting"),
        misled: withWrong("misled"),
        "left behind": withWrong("left behind"),
      },
      wrongSeeds: rounds.filter(({ outcome }) => outcome.problems.length > 0).map(({ seed }) => seed),
      explained: counted(outcomes.flatMap(({ explained }) => [...new Set(explained)])),
      sentBytes: sum(({ sentBytes }) => sentBytes),
      neededBytes: sum(({ neededBytes }) => neededBytes),
    };
  });
}

/** Adds a run to a file of results. */
export function recordRun(path: string, played: readonly Played[], run: Run): void {
  const lines = resultsOf(played, run, commitHere(), Date.now()).map(
    (result) => `${JSON.stringify(result)}\n`,
  );
  appendFileSync(path, lines.join(""));
}

/** Reads a file of results. @throws v.ValiError for a line of another form */
export function readResults(path: string): RunResult[] {
  const lines = readFileSync(path, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => v.parse(RunResult, JSON.parse(line)));
}

/** How often each name occurs, the most frequent first. */
export function counted(names: readonly string[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return Object.fromEntries([...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])));
}

/** The commit that is tried, 12 digits; "+" at its end: with changes that are not committed. */
export function commitHere(): string {
  const git = (...args: string[]): string =>
    execFileSync("git", args, { cwd: import.meta.dirname, encoding: "utf8" }).trim();
  // The results themselves are no change of what is tried.
  const changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/docs/figures") !== "";
  return `${git("rev-parse", "--short=12", "HEAD")}${changed ? "+" : ""}`;
}
