/**
 * Folders for files that a child needs for as long as it runs. An agent that is killed can't remove them, and /tmp of a
 * board is memory: so their names have the process that made them, and the next agent removes those of dead ones.
 */
import { lstat, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf, systemCode } from "./failure.ts";
import type { Log } from "./log.ts";

const NAME = /^hublink-tmp-(\d+)-/;

/** Makes a folder that only the agent's user may enter. Its owner removes it. @throws the file system's error */
export async function makeScratch(): Promise<string> {
  return await mkdtemp(join(tmpdir(), `hublink-tmp-${process.pid}-`)); // mode 0700
}

/** Removes the folders that killed agents of this user have left; never throws. */
export async function removeLeftScratch(log: Log): Promise<void> {
  const parent = tmpdir();
  try {
    for (const name of await readdir(parent)) {
      const [, pid] = NAME.exec(name) ?? [];
      if (pid === undefined || isAlive(Number(pid))) continue;
      const path = join(parent, name);
      const stats = await lstat(path);
      // Others may make such a name too, also as a link.
      if (stats.isDirectory() && stats.uid === process.geteuid?.())
        await rm(path, { recursive: true, force: true });
    }
  } catch (error) {
    log.warn(`temporary folders of an earlier run in ${parent} can't be removed: ${messageOf(error)}`);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) !== "ESRCH"; // EPERM: it is another user's
  }
}
