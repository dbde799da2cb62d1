/**
 * Reading and replacing whole files. After a power cut a file holds the old or the new content, never half of
 * one: boards are switched off by pulling the plug. The agent is mostly root, and others may write to some of the
 * folders that it uses, so no link that they put there is followed.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { constants, type FileHandle, mkdir, open, readFile, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { Failure, fileFailure, systemCode } from "./failure.ts";

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
  // A half file of a power cut, or a link that somebody put there.
  await unlink(beside).catch((error: unknown) => {
    if (systemCode(error) !== "ENOENT") throw error;
  });
  const file = await open(beside, "wx", mode);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(beside, path);
  await syncPath(dirname(path));
}

/**
 * The same at once, for a process that is about to end.
 * @throws the file system's error
 */
export function writeFileAtomicSync(path: string, content: string, mode = 0o600): void {
  mkdirSync(dirname(path), { recursive: true });
  const beside = `${path}.new`;
  rmSync(beside, { force: true });
  const file = openSync(beside, "wx", mode);
  try {
    writeSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(beside, path);
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
 * The path of an open file or folder itself: people who may rename things on the way to it can't put another in its
 * place. It works as a part of longer paths too (proc(5)).
 */
export function pathOf(file: FileHandle): string {
  return `/proc/self/fd/${file.fd}`;
}

/** From the kernel's asm-generic/fcntl.h; Node has no name for it. */
export const O_PATH = 0o10000000;

/**
 * Opens a regular file to read it. Other things are not opened, not even for a moment: that would start a watchdog, or
 * wait for the writer of a pipe.
 * @param what the file's role, such as `firmware`
 * @throws Failure `no_input`, `permission` or `io`
 */
export async function openRegularFile(what: string, path: string): Promise<FileHandle> {
  try {
    const found = await open(path, O_PATH);
    try {
      if (!(await found.stat()).isFile()) throw new Failure("no_input", `${what} ${path} is not a file`);
      return await open(pathOf(found), constants.O_RDONLY);
    } finally {
      await found.close();
    }
  } catch (error) {
    throw error instanceof Failure ? error : fileFailure(what, path, error);
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
