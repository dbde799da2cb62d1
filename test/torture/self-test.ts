/** Plays rounds with broken agents, until each is found out. */
import { join } from "node:path";
import { bundle } from "../../scripts/bundle.ts";
import { mutation, type Mutant } from "./mutants.ts";
import { drawPlan } from "./plan.ts";
import { roundSeed } from "./random.ts";
import type { Played } from "./round.ts";
import { playSeed } from "./torture.ts";
import type { World } from "./world.ts";

/** What the rounds with a broken agent showed. */
export interface Trial {
  readonly rounds: number;
  /** The round that found it; undefined when none did. */
  readonly found: Played | undefined;
}

/** Bundles a broken agent, and plays rounds with it. */
export async function tryMutant(world: World, mutant: Mutant, seed: number): Promise<Trial> {
  const agent = join(world.dir, "mutant.cjs");
  await bundle(agent, [mutation(mutant)]);
  let rounds = 0;
  for (let index = 0; rounds < mutant.rounds; index++) {
    const drawn = roundSeed(seed, index);
    if (mutant.fault !== undefined && !drawPlan(drawn, mutant.kind).plan.faults.includes(mutant.fault))
      continue;
    rounds += 1;
    const played = await playSeed({ ...world, agent }, drawn, mutant.kind);
    const { problems, hung } = played.outcome;
    if (problems.length > 0 || hung.length > 0) return { rounds, found: played };
  }
  return { rounds: mutant.rounds, found: undefined };
}

/** How a round found out a mutant, in one line. */
export function howFound({ outcome, seed, kind }: Played): string {
  const [problem] = outcome.problems;
  const what = problem === undefined ? "an agent hung" : `${problem.wrong}: ${problem.text}`;
  return `${what} (--replay ${seed} --only ${kind})`;
}
