/** A run: rounds of several seeds, some of them at once. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { describePlan, drawPlan, type Kind } from "./plan.ts";
import { createRandom, roundSeed } from "./random.ts";
import { playRound, type Played } from "./round.ts";
import type { World } from "./world.ts";

export interface TortureOptions {
  readonly rounds: number;
  /** The seed of the first round; the others follow from it. */
  readonly seed: number;
  /** Default: all kinds, at random. */
  readonly only?: Kind | undefined;
  /** Rounds that are played at once. */
  readonly jobs: number;
  readonly onRound: (played: Played) => void;
}

/** Plays rounds on a world. @returns the rounds in the order of their ends */
export async function torture(world: World, options: TortureOptions): Promise<readonly Played[]> {
  const played: Played[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < options.rounds) {
      const index = next++;
      const round = await playSeed(world, roundSeed(options.seed, index), options.only);
      played.push(round);
      options.onRound(round);
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, work));
  return played;
}

/** The kinds of a run of all kinds. A transfer takes as long as many rounds, and is played only on request. */
const MIXED = ["power", "power", "network", "disk", "mixed", "others", "card"] as const;

/** Plays the round of one seed. */
export async function playSeed(world: World, seed: number, only?: Kind): Promise<Played> {
  const kind = only ?? createRandom(seed + 1).pick(MIXED);
  const { plan, random } = drawPlan(seed, kind);
  const dir = join(world.dir, `round-${seed}`);
  await mkdir(dir, { recursive: true });
  const outcome = await playRound({ world, plan, random, dir });
  return { kind, seed, plan: describePlan(plan), faults: plan.faults, outcome };
}
