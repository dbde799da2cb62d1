import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * The date of what is built, in seconds since 1970: the same wherever and whenever one commit is built.
 *
 * SOURCE_DATE_EPOCH (reproducible-builds.org) comes first, then the commit's date; in an archive that git
 * made, git has written it into scripts/commit-date. 0 when all that is missing.
 */
export function buildDateS(root: string, env: NodeJS.ProcessEnv): number {
  for (const text of [env["SOURCE_DATE_EPOCH"], commitDate(root), archivedDate(root)])
    if (text !== undefined && /^\d+$/.test(text.trim())) return Number(text);
  return 0;
}

function commitDate(root: string): string | undefined {
  try {
    return execFileSync("git", ["log", "-1", "--format=%ct"], {
      cwd: root,
      // Not that of a repository this folder happens to lie in.
      env: { ...process.env, GIT_CEILING_DIRECTORIES: join(root, "..") },
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  } catch {
    return undefined; // no git, or no repository
  }
}

function archivedDate(root: string): string | undefined {
  try {
    return readFileSync(join(root, "scripts/commit-date"), "utf8");
  } catch {
    return undefined;
  }
}
