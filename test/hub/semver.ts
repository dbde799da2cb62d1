/** A version as Elixir's `Version` reads it: all three numbers, or nothing. */
export interface Version {
  readonly numbers: readonly [number, number, number];
  readonly preRelease: boolean;
}

/** @returns undefined for what is no version, such as `2.3` */
export function parseVersion(text: string): Version | undefined {
  const match = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/.exec(text);
  if (match === null) return undefined;
  return {
    numbers: [Number(match[1]), Number(match[2]), Number(match[3])],
    preRelease: match[4] !== undefined,
  };
}

/** Whether `version` matches `>= major.minor.0`; a pre-release of it comes before it. */
export function isAtLeast(version: Version, major: number, minor: number): boolean {
  const floor = [major, minor, 0];
  for (const [index, least] of floor.entries()) {
    const number = version.numbers[index] ?? 0;
    if (number !== least) return number > least;
  }
  return !version.preRelease;
}
