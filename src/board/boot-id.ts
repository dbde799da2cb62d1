/**
 * The kernel's id of this boot, and its age. The id tells an agent that was restarted from a board that was: without
 * it, an installed update that waits for its reboot looks like one that the boot loader gave up on.
 */
import { join } from "node:path";
import { readIfThere } from "../platform/files.ts";

/**
 * The kernel's name for this boot; another one after each reboot.
 * @param root the root folder, `/` on a board
 * @returns "" without procfs, where all boots look the same
 */
export async function readBootId(root: string): Promise<string> {
  return ((await readIfThere(join(root, "proc/sys/kernel/random/boot_id"))) ?? "").trim();
}

/**
 * Time since the board was booted, in ms: unlike the agent's own clock, it goes on when the agent is restarted.
 * @param root the root folder, `/` on a board
 * @returns undefined without procfs
 */
export async function readUptimeMs(root: string): Promise<number | undefined> {
  const seconds = Number.parseFloat((await readIfThere(join(root, "proc/uptime"))) ?? "");
  return Number.isNaN(seconds) ? undefined : Math.round(seconds * 1000);
}
