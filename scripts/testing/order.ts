/**
 * In which order files of tests run: the longest first. Started last, one of them would run by itself while
 * the other processor idles. None needs the machine for itself: those that watch /tmp, /dev/shm or a port
 * look at their own only.
 */

/** The longest, longest first, without `test/` and `.test.ts`. */
const LONGEST = [
  "torture/power",
  "torture/mixed",
  "torture/network",
  "torture/disk",
  "torture/others",
  "cli/start-stop",
  "cli/killed",
  "agent/boots",
  "package/reproducible",
  "cli/check",
  "cli/apply",
  "fwup/stand-in",
  "agent/refusals",
  "cli/run",
  "agent/update",
  "agent/decisions",
  "cli/slots",
  "agent/archives",
  "cli/identity",
  "identity/credentials-fuzz",
  "hub/fuzz",
].map((name) => `test/${name}.test.ts`);

export function longestFirst(files: readonly string[]): readonly string[] {
  const rank = (file: string): number => (LONGEST.includes(file) ? LONGEST.indexOf(file) : LONGEST.length);
  return files.toSorted((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}
