/**
 * `npm run soak`: hours of a board's life in minutes, and what the agent's memory does in them. It fails when RSS grows
 * by more than 15 MiB after the warm-up. `npm run soak -- [--minutes N] [--seed S] [--record FILE]`; the file gets one
 * more line of JSON, from which docs/figures.md is made.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { commitHere } from "../torture/results.ts";
import type { Sample } from "./memory.ts";
import { recordSoak } from "./results.ts";
import { soak, type Soaked } from "./soak.ts";

const ROOT = join(import.meta.dirname, "../..");
const MAX_GROWTH_MIB = 15;
const COLUMNS = ["atS", "rss", "own", "heapUsed", "heapTotal", "external", "arrayBuffers"] as const;
const NOTES = `atS: seconds since the start; the others are MiB. own: pages that belong to no file.
external: what V8 knows of outside its heap, arrayBuffers included.
`;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "25" },
    seed: { type: "string", default: "1" },
    record: { type: "string" },
  },
});
const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
if (!(minutes > 0)) fail(`--minutes ${values.minutes}: not a time`);
if (!Number.isSafeInteger(seed)) fail(`--seed ${values.seed}: not a whole number`);

execFileSync(process.execPath, ["--import", "tsx", "scripts/build.ts"], { cwd: ROOT, stdio: "inherit" });
const commit = commitHere(); // what is tried, also when the folder moves on
say(`${minutes} minutes, seed ${seed}\n\n${NOTES}\n${COLUMNS.map(cell).join("")}`);
const soaked = await soak({
  agent: join(ROOT, "dist/hublink.cjs"),
  minutes,
  seed,
  onSample: (sample) => say(row(sample)),
});
say(`\n${report(soaked)}`);
if (values.record !== undefined) {
  recordSoak(values.record, { commit, minutes, seed }, soaked);
}
if (soaked.growthMib > MAX_GROWTH_MIB) fail(`RSS has grown by more than ${MAX_GROWTH_MIB} MiB`);

function row(sample: Sample): string {
  return COLUMNS.map((name) => cell(sample[name].toFixed(1))).join("");
}

function cell(text: string): string {
  return text.padStart(13);
}

function report({ counts, connections, ...course }: Soaked): string {
  const { joinedMib, warmMib, peakMib, endMib, growthMib, slopeKibMin } = course;
  const activities = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
  return [
    `${connections} connections; ${activities.join(", ")}`,
    `RSS: joined ${mib(joinedMib)}, warm ${mib(warmMib)}, peak ${mib(peakMib)}, end ${mib(endMib)}`,
    `growth after the warm-up ${mib(growthMib)}; slope of the second half ${slopeKibMin.toFixed(0)} KiB a minute`,
  ].join("\n");
}

function mib(value: number): string {
  return `${value.toFixed(1)} MiB`;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function fail(text: string): never {
  process.stderr.write(`soak: ${text}\n`);
  process.exit(1);
}
