/** Measuring several times and taking medians, because a machine is not equally fast all the time. */

/** Runs something `count` times, one after the other. */
export async function inRounds<T>(count: number, run: () => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  while (results.length < count) results.push(await run());
  return results;
}

/** The median of each measurement, by name. */
type Medians<Name extends string> = Readonly<Record<Name, number>> & {
  /** The median of the ratios within each round, so that a slow round does not count. */
  readonly ratio: (one: Name, other: Name) => number;
};

/** Measures several things in turn (A B A B), so that a change of the machine hits all of them. */
export async function alternate<Name extends string>(
  count: number,
  measure: Readonly<Record<Name, () => Promise<number>>>,
): Promise<Medians<Name>> {
  const names = Object.keys(measure) as Name[];
  const rounds = await inRounds(count, async () => {
    const round = {} as Record<Name, number>;
    for (const name of names) round[name] = await measure[name]();
    return round;
  });
  const medians = {} as Record<Name, number>;
  for (const name of names) medians[name] = median(rounds.map((round) => round[name]));
  return { ...medians, ratio: (one, other) => median(rounds.map((round) => round[one] / round[other])) };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low = NaN, high = NaN] = sorted.slice(middle - (1 - (sorted.length % 2)));
  return sorted.length % 2 === 1 ? low : (low + high) / 2;
}
