/** In which order files of tests run, and which of them side by side. */

/** The longest, longest first: started last, one of them would run alone while the other processor idles. */
const LONGEST: readonly string[] = [
  "test/torture/power.test.ts",
  "test/torture/network.test.ts",
  "test/torture/mixed.test.ts",
  "test/torture/disk.test.ts",
];

/** Those that need the machine for themselves, and why. */
const ALONE: Readonly<Record<string, string>> = {};

export interface Order {
  /** Side by side, in this order. */
  readonly together: readonly string[];
  /** One after the other, when the others have ended. */
  readonly alone: readonly string[];
}

export function orderOf(files: readonly string[]): Order {
  const rank = (file: string): number => {
    const index = LONGEST.indexOf(file);
    return index === -1 ? LONGEST.length : index;
  };
  const sorted = files.toSorted((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  return {
    together: sorted.filter((file) => !(file in ALONE)),
    alone: sorted.filter((file) => file in ALONE),
  };
}
