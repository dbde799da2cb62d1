/**
 * Reading and replacing whole files. After a power cut a file holds the old or the new content, never half of
 * one: boards are switched off by pulling the plug.
 */
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { systemCode } from "./failure.ts";

/**
 * Replaces a file: writes the new content beside it, syncs that, renames it, and syncs the folder. Makes the
 * folder when it is missing.
 * @throws the file system's error
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  mode = 0o600,
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const beside = `${path}.new`;
  const file = await open(beside, "w", mode);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
  await syncPath(dirname(path));
}

/** Flushes a file, block device or folder to its disk. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * A file's text; undefined when the system refuses it for any reason, for files that a board may lack.
 * @throws errors that are not the file system's
 */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return undefined;
  }
}
