/** Which key was meant by an unknown one. The error names it, so that a typo is found without the manual. */
import { isSection, type Section } from "./setting.ts";

/** Only this much of an unknown key is compared: the time grows with its length. */
const MAX_KEY_LENGTH = 60;

/** A key of another section counts as this many more changes than one of the same section. */
const ELSEWHERE = 2;

/**
 * The known key that was most likely meant, as a dotted path.
 * @param home dotted path of the section in which the unknown key stands; empty for the top
 */
export function nearestKey(root: Section, home: string, unknown: string): string {
  let nearest = "";
  let least = Infinity;
  const meant = unknown.slice(0, MAX_KEY_LENGTH).toLowerCase();
  const visit = (section: Section, path: string): void => {
    for (const [key, entry] of Object.entries(section.entries)) {
      const keyPath = path === "" ? key : `${path}.${key}`;
      const cost = editDistance(meant, key) + (path === home ? 0 : ELSEWHERE);
      if (cost < least) [nearest, least] = [keyPath, cost];
      if (isSection(entry)) visit(entry, keyPath);
    }
  };
  visit(root, "");
  return nearest;
}

/** The Levenshtein distance: how many letters must be added, removed or changed. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const change = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
