/** The results of soaks, kept in docs/figures/soak.jsonl: one line of JSON for each. docs/figures.md shows them. */
import { appendFileSync, readFileSync } from "node:fs";
import * as v from "valibot";
import type { Soaked } from "./soak.ts";

const Count = v.pipe(v.number(), v.integer(), v.minValue(0));

const SoakResult = v.strictObject({
  /** The end of the soak. */
  date: v.pipe(v.string(), v.isoTimestamp()),
  /** The commit of hublink; "+" at its end: with changes that were not committed. */
  commit: v.pipe(v.string(), v.regex(/^[0-9a-f]{12}\+?$/)),
  node: v.string(),
  arch: v.string(),
  minutes: v.number(),
  /** Of the order of the activities. */
  seed: Count,
  /** Connections to the hub. */
  connections: Count,
  /** How often each activity took place. */
  counts: v.record(v.string(), Count),
  /** RSS when the agent had joined, when everything had happened once, at most, and in the last tenth of the time. */
  joinedMib: v.number(),
  warmMib: v.number(),
  peakMib: v.number(),
  endMib: v.number(),
  /** From warm to end. */
  growthMib: v.number(),
  /** Of RSS in the second half of the time, KiB a minute. */
  slopeKibMin: v.number(),
});

type SoakResult = v.InferOutput<typeof SoakResult>;

/** Adds a soak to a file of results. */
export function recordSoak(
  path: string,
  run: Pick<SoakResult, "commit" | "minutes" | "seed">,
  { counts, connections, ...course }: Soaked,
): void {
  const rounded = Object.fromEntries(
    Object.entries(course).map(([name, value]) => [name, Math.round(value * 10) / 10]),
  );
  const about = { date: new Date().toISOString(), node: process.version, arch: process.arch };
  appendFileSync(path, `${JSON.stringify({ ...about, ...run, connections, counts, ...rounded })}\n`);
}

/** Reads a file of results, oldest first. @throws v.ValiError for a line of another form */
export function readSoaks(path: string): SoakResult[] {
  const lines = readFileSync(path, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => v.parse(SoakResult, JSON.parse(line)));
}
