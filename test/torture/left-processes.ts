/**
 * Ends what still runs of a life, or of a whole run. An agent that is killed leaves its fwup behind, and an interrupted
 * run its agents: their parents can't end them any more, so they are known by the environment that all of them inherit.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The variable that every process of a life has: the life's folder. */
export const LIFE_FOLDER = "TORTURE_PROC";

/** Kills all processes of the lives whose folders are in `folder`, or are `folder`. @returns how many */
export function endProcessesIn(folder: string): number {
  const ids = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && belongsTo(name, folder));
  return ids.filter(kill).length;
}

function belongsTo(id: string, folder: string): boolean {
  try {
    const environment = `\0${readFileSync(join("/proc", id, "environ"), "utf8")}`;
    return (
      environment.includes(`\0${LIFE_FOLDER}=${folder}/`) ||
      environment.includes(`\0${LIFE_FOLDER}=${folder}\0`)
    );
  } catch {
    return false; // it has ended, or is somebody else's
  }
}

function kill(id: string): boolean {
  try {
    return process.kill(Number(id), "SIGKILL");
  } catch {
    return false; // it has ended
  }
}
