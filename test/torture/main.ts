/**
 * Updates boards while their power, network and disk fail, round after round, and counts what must never
 * happen. `npm run torture -- --rounds N --seed S [--only KIND] [--jobs N] [--record FILE]`; to repeat one
 * round: `npm run torture -- --replay SEED --only KIND`. What `--record` adds to FILE is described in results.ts.
 * `--self-test` tries broken agents instead, all of them or, with `--mutant TEXT`, those with the text in their names.
 */
import { parseArgs } from "node:util";
import { endProcessesIn } from "./left-processes.ts";
import { MUTANTS } from "./mutants.ts";
import { KINDS, type Kind } from "./plan.ts";
import { renderReport } from "./report.ts";
import { recordRun } from "./results.ts";
import type { Played } from "./round.ts";
import { howFound, tryMutant } from "./self-test.ts";
import { playSeed, torture } from "./torture.ts";
import { hasCompiler, setUpWorld } from "./world.ts";

/** How many rounds are between two tables of a long run. */
const TELL_EACH = 200;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "200" },
    seed: { type: "string", default: "1" },
    only: { type: "string" },
    jobs: { type: "string", default: "2" },
    record: { type: "string" },
    replay: { type: "string" },
    "self-test": { type: "boolean", default: false },
    mutant: { type: "string", default: "" },
  },
});
const only = KINDS.find((kind) => kind === values.only);
if (values.only !== undefined && only === undefined)
  fail(`--only ${values.only}: one of ${KINDS.join(", ")}`);
if (!hasCompiler()) fail("a C compiler (cc) on Linux is needed: what cuts the power is compiled");

const world = await setUpWorld();
let record = (): void => undefined;
const interrupt = (): void => {
  record(); // what was played counts
  endProcessesIn(world.dir);
  world.removeNow();
  process.exit(130);
};
process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
try {
  if (values["self-test"]) process.exitCode = (await selfTest()) ? 0 : 1;
  else await playRounds();
} finally {
  await world.remove();
}

async function playRounds(): Promise<void> {
  const replayed =
    values.replay === undefined ? undefined : await replay(number("replay", values.replay), only);
  const played = replayed ?? (await run(only));
  process.exitCode = played.some(({ outcome }) => outcome.problems.length > 0) ? 1 : 0;
}

/** @returns whether all broken agents were found out */
async function selfTest(): Promise<boolean> {
  const mutants = MUTANTS.filter(({ name }) => name.includes(values.mutant));
  let missed = 0;
  say(`${mutants.length} broken agents, seed ${values.seed}, fwup: ${world.fwupVersion}`);
  for (const mutant of mutants) {
    const { rounds, found } = await tryMutant(world, mutant, number("seed", values.seed));
    if (found === undefined) missed += 1;
    const verdict = found === undefined ? "MISSED" : "found ";
    say(`${verdict} within ${rounds} of ${mutant.rounds} rounds of ${mutant.kind}: ${mutant.name}`);
    if (found !== undefined) say(`    ${howFound(found)}`);
  }
  return missed === 0;
}

async function run(kind: Kind | undefined): Promise<readonly Played[]> {
  const seed = number("seed", values.seed);
  const rounds = number("rounds", values.rounds);
  const startedMs = Date.now();
  say(`${rounds} rounds, seed ${seed}, fwup: ${world.fwupVersion}`);
  const played: Played[] = [];
  record = () => {
    const { record: path } = values;
    if (path === undefined) return;
    recordRun(path, played, { fwup: world.fwupVersion, seed, only: kind !== undefined, startedMs });
  };
  await torture(world, {
    rounds,
    seed,
    only: kind,
    jobs: number("jobs", values.jobs),
    onRound(round) {
      played.push(round);
      tell(round);
      if (played.length % TELL_EACH === 0 && played.length < rounds) say(`\n${renderReport(played)}`);
    },
  });
  record();
  say(`\n${renderReport(played)}`);
  return played;
}

async function replay(seed: number, kind: Kind | undefined): Promise<readonly Played[]> {
  const played = await playSeed(world, seed, kind);
  say(`${played.kind}: ${played.plan}`);
  say(played.outcome.log);
  tell(played);
  return [played];
}

/** Prints only rounds in which something is wrong. */
function tell({ kind, seed, plan, outcome }: Played): void {
  for (const hung of outcome.hung) say(`\nan agent hung:\n${hung}`);
  if (outcome.problems.length === 0) return;
  say(`\n${outcome.problems.map(({ wrong, text }) => `${wrong}: ${text}`).join("\n")}`);
  say(`  ${plan}\n  npm run torture -- --replay ${seed} --only ${kind}`);
}

function number(name: string, text: string): number {
  const value = Number(text);
  return Number.isSafeInteger(value) && value >= 0 ? value : fail(`--${name} ${text}: not a number`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function fail(text: string): never {
  process.stderr.write(`torture: ${text}\n`);
  process.exit(64);
}
