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
