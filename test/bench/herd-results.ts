/** The results of the herd, kept in docs/figures/herd.jsonl: one line of JSON for each scenario of a run. */
import { appendFileSync, readFileSync } from "node:fs";
import * as v from "valibot";
import { commitHere } from "../torture/results.ts";
import type { HerdResult } from "./herd.ts";

const Recorded = v.strictObject({
  /** The end of the run. */
  date: v.pipe(v.string(), v.isoTimestamp()),
  commit: v.pipe(v.string(), v.regex(/^[0-9a-f]{12}\+?$/)),
  scenario: v.string(),
  boards: v.number(),
  peak: v.number(),
  mean: v.number(),
  twoMinutesMean: v.number(),
  awayS: v.number(),
  mostBackS: v.number(),
});

/** One scenario of a run. */
type Recorded = v.InferOutput<typeof Recorded>;

/** Adds a run to a file of results. */
export function recordHerd(path: string, results: readonly HerdResult[]): void {
  const about = { date: new Date().toISOString(), commit: commitHere() };
  const rounded = (value: unknown): unknown =>
    typeof value === "number" ? Math.round(value * 10) / 10 : value;
  const lines = results.map((result) =>
    JSON.stringify({ ...about, ...result }, (_key, value) => rounded(value)),
  );
  appendFileSync(path, `${lines.join("\n")}\n`);
}

/** Reads a file of results, oldest first. @throws v.ValiError for a line of another form */
export function readHerd(path: string): Recorded[] {
  const lines = readFileSync(path, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => v.parse(Recorded, JSON.parse(line)));
}
