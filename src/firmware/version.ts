/**
 * The order of firmware versions: semantic versioning's, by the semver package. Versions by the date, such
 * as 2026.01.05, have leading zeros, which semver refuses; without this room boards that number their
 * firmware so would have no protection from downgrades.
 */
import compare from "semver/functions/compare.js";
import parse from "semver/functions/parse.js";

/**
 * True when `candidate` is an older version than `running` by semantic versioning's rules (semver.org
 * §11); false when either is not a semantic version, since their order is then unknown.
 */
export function isDowngrade(running: string, candidate: string): boolean {
  const from = parse(plain(running));
  const to = parse(plain(candidate));
  return from !== null && to !== null && compare(to, from) < 0;
}

/** Without build metadata, which has no say in the order, and without leading zeros. */
function plain(version: string): string {
  const [release = ""] = version.trim().split("+", 1);
  return release.replace(/^v?\d+\.\d+\.\d+/, (numbers) => numbers.replace(/(?<!\d)0+(?=\d)/g, ""));
}
