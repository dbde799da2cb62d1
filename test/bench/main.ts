/**
 * `npm run bench`: compares the agent with other programs in one run on one machine. It prints ratios, since absolute
 * times say little about a board. `npm run bench -- herd` simulates a fleet that loses its hub instead, which takes a
 * few minutes; with `--quick`, a fleet of 2,000 boards; with `--record FILE`, the file gets one line of JSON for each
 * scenario, from which docs/figures.md is made.
 */
import { execFileSync } from "node:child_process";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { realFwup } from "../fwup/run.ts";
import { setUpBench, type Bench } from "./bench.ts";
import { herdRows, playHerd } from "./herd.ts";
import { recordHerd } from "./herd-results.ts";
import { measureHealth } from "./health.ts";
import { measureMemory } from "./memory.ts";
import { measureSpeed } from "./speed.ts";
import { measureStart } from "./start.ts";
import { renderTable, type Row } from "./table.ts";

const MIB = 1024 * 1024;
const ROOT = join(import.meta.dirname, "../..");
const quick = process.argv.includes("--quick");
const rootfsMib = quick ? 32 : 256;
const rounds = quick ? 3 : 7;

const HERD_NOTES = `Each board is a real HubLink on a simulated clock. All connections had held for a minute
and end at the same moment. Ratio: attempts in the busiest second over the mean of the
time in which 99 % of the boards come back, 30 s at least. Against: this mean; the mean
of the first two minutes; how long a board is away on average, counted from when the
hub is there again; when 99 % are back. A hub that takes 100/s refuses the others.
`;

const NOTES = `Update: from "started" to "completed" at the hub: connecting, reading metadata,
invalidating the slot, downloading, SHA-256 of each part and of the whole, fwup,
flushing. curl: "curl -sN URL | fwup --apply ... && sync DISK", which checks no
SHA-256. Both from the same server process, each on a new sparse disk image.
RSS: idle is VmRSS, joined and after some heartbeats; peak is VmHWM since then.
Start: from spawning the agent until the hub sees its join.
A health report is made when the hub asks, once an hour.
`;

if (process.argv.includes("herd")) {
  const boards = quick ? 2000 : 10_000;
  const { record } = parseArgs({ options: { record: { type: "string" } }, strict: false }).values;
  const results = await playHerd(boards);
  if (typeof record === "string") recordHerd(record, results);
  process.stdout.write(`${boards} boards\n\n${renderTable(herdRows(results))}\n\n${HERD_NOTES}`);
} else {
  await compare();
}

async function compare(): Promise<void> {
  execFileSync(process.execPath, ["--import", "tsx", "scripts/build.ts"], { cwd: ROOT, stdio: "inherit" });
  const bench = await setUpBench({
    agent: join(ROOT, "dist/hublink.cjs"),
    rootfsBytes: rootfsMib * MIB,
    rounds,
  });
  const interrupt = (): void => void bench.remove().finally(() => process.exit(130));
  process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
  try {
    process.stdout.write(`${about()}\n\n${renderTable(await measureAll(bench))}\n\n${NOTES}`);
  } finally {
    await bench.remove();
  }
}

async function measureAll(on: Bench): Promise<Row[]> {
  return [
    ...(await measureSpeed(on, "http")),
    ...(await measureSpeed(on, "https")),
    ...(await measureMemory(on)),
    ...(await measureStart(on)),
    ...(await measureHealth(rounds)),
  ];
}

function about(): string {
  const fwup =
    realFwup() === undefined
      ? "No fwup on the PATH: with the stand-in for it, the speed of an update says nothing."
      : "With the real fwup.";
  const { version, arch } = process;
  return `${rootfsMib} MiB of firmware, medians of ${rounds} rounds, Node ${version}, ${arch}, ${cpus().length} CPUs.\n${fwup}`;
}
