/** Random numbers that a seed repeats, and the seeds of rounds. */

/** Random numbers of one seed. */
export interface Random {
  /** A number from 0 (included) to 1 (excluded). */
  next(): number;
  /** A whole number from `from` to `to`, both included. */
  int(from: number, to: number): number;
  chance(probability: number): boolean;
  pick<T>(choices: readonly [T, ...T[]]): T;
}

/** xorshift32, started with a hash of the seed, so that neighbouring seeds give unrelated numbers. */
export function createRandom(seed: number): Random {
  let state = scramble(seed) || 1;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  const int: Random["int"] = (from, to) => from + Math.floor(next() * (to - from + 1));
  return {
    next,
    int,
    chance: (probability) => next() < probability,
    pick: (choices) => choices[int(0, choices.length - 1)] ?? choices[0],
  };
}

/** The seed of the `index`-th round of a run. It lets a round be repeated without the rounds before it. */
export function roundSeed(seed: number, index: number): number {
  return scramble(seed + Math.imul(index, 0x9e3779b1)) >>> 0;
}

/** The finisher of MurmurHash3. */
function scramble(value: number): number {
  let hash = value ^ (value >>> 16);
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
