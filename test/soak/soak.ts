/** One soak: activities one after the other, and the agent's memory at intervals. */
import { roundSeed, createRandom } from "../torture/random.ts";
import { ACTIVITIES, type ActivityName, pickActivity } from "./activities.ts";
import { SoakBoard } from "./board.ts";
import { courseOf, type Course, type Sample } from "./memory.ts";

export interface SoakOptions {
  /** The bundle. */
  readonly agent: string;
  readonly minutes: number;
  readonly seed: number;
  readonly onSample: (sample: Sample) => void;
}

export interface Soaked extends Course {
  /** How often each activity took place. */
  readonly counts: Readonly<Record<ActivityName, number>>;
  /** Connections that the hub saw. */
  readonly connections: number;
}

const SAMPLES = 100;
const MIN_APART_S = 1;

/** @throws Error when an activity has no effect, or the agent ends */
export async function soak({ agent, minutes, seed, onSample }: SoakOptions): Promise<Soaked> {
  const board = await SoakBoard.start(agent);
  try {
    const random = createRandom(roundSeed(seed, 0));
    const names = Object.keys(ACTIVITIES) as ActivityName[];
    const counts = Object.fromEntries(names.map((name) => [name, 0])) as Record<ActivityName, number>;
    const samples: Sample[] = [];
    const sample = async (): Promise<Sample> => {
      const taken = await board.sample();
      samples.push(taken);
      onSample(taken);
      return taken;
    };
    const play = async (name: ActivityName): Promise<void> => {
      counts[name] += 1;
      const number = Object.values(counts).reduce((sum, count) => sum + count, 0);
      await ACTIVITIES[name].run(board, random, number).catch((error: unknown) => {
        throw new Error(`activity ${number} of seed ${seed}, ${name}; the agent's log:\n${board.log}`, {
          cause: error,
        });
      });
    };
    const first = await sample();
    for (const name of names) await play(name);
    const { atS: warmAtS } = await sample();
    const endS = first.atS + minutes * 60;
    const apartS = Math.max((minutes * 60) / SAMPLES, MIN_APART_S);
    for (let { atS } = await sample(); atS < endS;) {
      const nextMs = performance.now() + apartS * 1000;
      while (performance.now() < nextMs) await play(pickActivity(random));
      ({ atS } = await sample());
    }
    return { ...courseOf(samples, warmAtS), counts, connections: board.record.connections };
  } finally {
    await board.stop();
  }
}
