/** The only date in a build. A clock that was read here would make two builds of one commit differ. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * The date that goes into a build, in seconds since 1970. It is the same wherever and whenever a commit is built, or
 * two builds of one commit would differ.
 *
 * It is SOURCE_DATE_EPOCH (reproducible-builds.org), or else the commit's date. In an archive that git made, git has
 * written the date into scripts/commit-date. Without any of these it is 0.
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
      // Otherwise git would take the repository that this folder happens to lie in.
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
