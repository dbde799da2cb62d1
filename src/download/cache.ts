/**
 * The folder that firmware is fetched into, one file at a time, so that a restart or a power cut costs no
 * byte twice. It leaves room for others, since the state folder is on the same disk: a cache that filled it
 * would cost the agent its memory.
 */
import { access, constants, type FileHandle, mkdir, open, readdir, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../platform/clock.ts";
import { Failure, systemCode } from "../platform/failure.ts";
import { type CachedFile, onDisk, openCachedFile } from "./cached-file.ts";
import { type CacheableFile, type CachePaths, readSidecar, removeCached } from "./sidecar.ts";
import { type ExpectedFile, provesItself, sha256 } from "./verify.ts";

/** Whether its size is known and something was announced to prove it by. */
export function isCacheable(expected: ExpectedFile): expected is CacheableFile {
  return expected.sizeBytes !== null && provesItself(expected);
}

/** Left free for others. */
const MARGIN_BYTES = 4 * 1024 * 1024;
/** The file, its sidecar, and the sidecar's next version. */
const INODES = 3;
const SUFFIX = /\.fw\.(part|json|json\.new)$/;

export class FirmwareCache {
  readonly #folder: string;
  readonly #clock: Clock;

  constructor(folder: string, clock: Clock) {
    this.#folder = folder;
    this.#clock = clock;
  }

  /**
   * Opens the file of a firmware with what is left of an earlier download, and removes all others.
   * @throws Failure `cache_failed`, also when there is no room for the rest of it
   */
  async open(uuid: string, expected: CacheableFile): Promise<CachedFile> {
    const paths = this.#pathsOf(uuid);
    return await onDisk(this.#folder, async () => {
      await mkdir(this.#folder, { recursive: true });
      await this.#removeOthers(uuid);
      const kept = await readSidecar(paths.sidecar, expected);
      if (kept === undefined) await rm(paths.data, { force: true });
      await this.#checkRoom(paths.data, expected.sizeBytes);
      const file = await openOrCreate(paths.data);
      try {
        const options = { expected, paths, file, clock: this.#clock };
        return await openCachedFile(options, kept ?? { version: null, syncedBytes: 0 });
      } catch (error) {
        await file.close();
        throw error;
      }
    });
  }

  /** Removes the file of a firmware, if there is one. A disk that refuses is left alone. */
  async remove(uuid: string): Promise<void> {
    await removeCached(this.#pathsOf(uuid)).catch(() => undefined); // the next download's `open` tries again
  }

  #pathsOf(uuid: string): CachePaths {
    const path = join(this.#folder, fileName(uuid));
    return { data: `${path}.fw.part`, sidecar: `${path}.fw.json` };
  }

  async #removeOthers(uuid: string): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      const isOther = SUFFIX.test(name) && name.replace(SUFFIX, "") !== fileName(uuid);
      if (isOther) await rm(join(this.#folder, name), { force: true });
    }
  }

  async #checkRoom(path: string, sizeBytes: number): Promise<void> {
    const there = await allocatedBytes(path);
    const disk = await statfs(this.#folder);
    const needed = Math.max(0, sizeBytes - there) + MARGIN_BYTES;
    const free = disk.bavail * disk.bsize;
    if (free < needed) {
      const text = `${this.#folder} has ${mib(free)} MiB free, ${mib(needed)} are needed`;
      throw new Failure("cache_failed", text);
    }
    // Some file systems have no fixed number of inodes and say 0 of 0.
    if (disk.files > 0 && disk.ffree < INODES) {
      throw new Failure("cache_failed", `${this.#folder} has no inode free`);
    }
  }
}

/**
 * The bytes that a cache in `folder` could hold. Changes nothing; a folder that does not exist yet is judged
 * by its nearest parent.
 * @throws Failure `cache_failed` when nothing can be written there
 */
export async function cacheRoom(folder: string): Promise<number> {
  return await onDisk(folder, async () => {
    const there = await nearestFolder(folder);
    await access(there, constants.W_OK);
    const { bavail, bsize } = await statfs(there);
    return Math.max(0, bavail * bsize - MARGIN_BYTES);
  });
}

async function nearestFolder(folder: string): Promise<string> {
  try {
    await readdir(folder);
    return folder;
  } catch (error) {
    if (systemCode(error) !== "ENOENT" || dirname(folder) === folder) throw error;
    return await nearestFolder(dirname(folder));
  }
}

async function openOrCreate(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
  } catch (error) {
    // ELOOP: a link, with which somebody would have the firmware written over another file.
    if (!["ENOENT", "ELOOP"].includes(systemCode(error) ?? "")) throw error;
    await rm(path, { force: true });
    return await open(path, "wx+", 0o600);
  }
}

/** A uuid comes from the network: one with other characters could lead out of the folder, so it is hashed. */
function fileName(uuid: string): string {
  return /^[0-9A-Za-z-]{1,64}$/.test(uuid) ? uuid : sha256(uuid);
}

async function allocatedBytes(path: string): Promise<number> {
  try {
    return (await stat(path)).blocks * 512;
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    return 0;
  }
}

function mib(bytes: number): number {
  return Math.ceil(bytes / 1024 / 1024);
}
