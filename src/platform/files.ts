/**
 * Reading and replacing whole files. What is written survives a power cut as the old or the new content,
 * never as half of it.
 */
import { mkdir, open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { systemCode } from "./failure.ts";

/**
 * Replaces a file so that after a power cut either the old or the new content is there: written
 * beside it, synced, renamed, and the folder synced. Makes the folder when it is missing.
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
 * @throws whatever is not the file system's error
 */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return undefined;
  }
}
