/**
 * Updates boards while their power, network and disk fail, round after round, and counts what must never
 * happen. `npm run torture -- --rounds N --seed S [--only KIND] [--jobs N]`; to repeat one round:
 * `npm run torture -- --replay SEED --only KIND`.
 */
import { parseArgs } from "node:util";
import { realFwup } from "../fwup/run.ts";
import { KINDS, type Kind } from "./plan.ts";
import { renderReport, type Played } from "./report.ts";
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
    replay: { type: "string" },
  },
});
const only = KINDS.find((kind) => kind === values.only);
if (values.only !== undefined && only === undefined)
  fail(`--only ${values.only}: one of ${KINDS.join(", ")}`);
if (!hasCompiler()) fail("a C compiler (cc) on Linux is needed: what cuts the power is compiled");

const world = await setUpWorld();
const interrupt = (): void => void world.remove().finally(() => process.exit(130));
process.once("SIGINT", interrupt).once("SIGTERM", interrupt);
try {
  const replayed =
    values.replay === undefined ? undefined : await replay(number("replay", values.replay), only);
  const played = replayed ?? (await run(only));
  process.exitCode = played.some(({ outcome }) => outcome.problems.length > 0) ? 1 : 0;
} finally {
  await world.remove();
}

async function run(kind: Kind | undefined): Promise<readonly Played[]> {
  const seed = number("seed", values.seed);
  const rounds = number("rounds", values.rounds);
  say(
    `${rounds} rounds, seed ${seed}, ${realFwup() === undefined ? "the stand-in for fwup" : "the real fwup"}`,
  );
  const soFar: Played[] = [];
  const played = await torture(world, {
    rounds,
    seed,
    only: kind,
    jobs: number("jobs", values.jobs),
    onRound(round) {
      soFar.push(round);
      tell(round);
      if (soFar.length % TELL_EACH === 0 && soFar.length < rounds) say(`\n${renderReport(soFar)}`);
    },
  });
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
