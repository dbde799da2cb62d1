/** What stands beside a cached file: what it is of, and what of it can be relied on. */
import { createHash } from "node:crypto";
import { access, constants, type FileHandle, mkdir, open, readdir, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import { type CachedFile, createCachedFile } from "./cached-file.ts";
import { type CacheableFile, readSidecar, writeSidecar } from "./sidecar.ts";
import type { ExpectedFile } from "./verify.ts";

/** Whether it can be proven by something as well. */
export function isCacheable(expected: ExpectedFile): expected is CacheableFile {
  return expected.sizeBytes !== null && (expected.parts !== null || expected.checksum !== null);
}

/** Keeps one firmware file in a folder while it is fetched, across restarts and power cuts. */
export interface FirmwareCache {
  /**
   * Opens the file of a firmware with what is left of an earlier download, and removes all others.
   * @throws Failure `cache_failed`, also when there is no room for the rest of it
   */
  open(uuid: string, expected: CacheableFile): Promise<CachedFile>;
  /** Removes the file of a firmware, if there is one. A disk that refuses is left alone. */
  remove(uuid: string): Promise<void>;
}

/** Left free for others: the state folder is on the same disk. */
const MARGIN_BYTES = 4 * 1024 * 1024;
/** The file, its sidecar, and the sidecar's next version. */
const INODES = 3;
const SUFFIX = /\.fw\.(part|json|json\.new)$/;

export function createFirmwareCache(folder: string, clock: Clock): FirmwareCache {
  const pathsOf = (uuid: string): { readonly data: string; readonly sidecar: string } => {
    const path = join(folder, fileName(uuid));
    return { data: `${path}.fw.part`, sidecar: `${path}.fw.json` };
  };

  const removeOthers = async (keep: string): Promise<void> => {
    for (const name of await readdir(folder)) {
      if (SUFFIX.test(name) && name.replace(SUFFIX, "") !== keep)
        await rm(join(folder, name), { force: true });
    }
  };

  const checkRoom = async (path: string, sizeBytes: number): Promise<void> => {
    const there = await allocatedBytes(path);
    const disk = await statfs(folder);
    const needed = Math.max(0, sizeBytes - there) + MARGIN_BYTES;
    const free = disk.bavail * disk.bsize;
    if (free < needed)
      throw new Failure("cache_failed", `${folder} has ${mib(free)} MiB free, ${mib(needed)} are needed`);
    // Some file systems have no fixed number of inodes and say 0 of 0.
    if (disk.files > 0 && disk.ffree < INODES)
      throw new Failure("cache_failed", `${folder} has no inode free`);
  };

  return {
    async open(uuid, expected) {
      const { data, sidecar } = pathsOf(uuid);
      return await orCacheFailure(folder, async () => {
        await mkdir(folder, { recursive: true });
        await removeOthers(fileName(uuid));
        const kept = await readSidecar(sidecar, expected);
        if (kept === undefined) await rm(data, { force: true });
        await checkRoom(data, expected.sizeBytes);
        const file = await openOrCreate(data);
        try {
          return await createCachedFile({
            expected,
            path: data,
            clock,
            file,
            kept: kept ?? { version: null, syncedBytes: 0 },
            keep: async (state) => writeSidecar(sidecar, expected, state),
            remove: async () => remove(data, sidecar),
            guard: async (work) => orCacheFailure(folder, work),
          });
        } catch (error) {
          await file.close();
          throw error;
        }
      });
    },
    async remove(uuid) {
      const { data, sidecar } = pathsOf(uuid);
      await remove(data, sidecar).catch(() => undefined); // the next download's `open` tries again
    },
  };
}

/**
 * The bytes that a cache in `folder` could take; looks only, and at the folder's parent while it is not made yet.
 * @throws Failure `cache_failed` when nothing can be written there
 */
export async function cacheRoom(folder: string): Promise<number> {
  return await orCacheFailure(folder, async () => {
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

async function remove(data: string, sidecar: string): Promise<void> {
  await rm(data, { force: true });
  await rm(sidecar, { force: true });
}

async function openOrCreate(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r+");
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    return await open(path, "w+", 0o600);
  }
}

/** A uuid comes from the network: one that is no plain name must not lead out of the folder. */
function fileName(uuid: string): string {
  return /^[0-9A-Za-z-]{1,64}$/.test(uuid) ? uuid : createHash("sha256").update(uuid).digest("hex");
}

async function allocatedBytes(path: string): Promise<number> {
  try {
    return (await stat(path)).blocks * 512;
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
    return 0;
  }
}

async function orCacheFailure<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    throw new Failure("cache_failed", `${folder} can't keep the download: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function mib(bytes: number): number {
  return Math.ceil(bytes / 1024 / 1024);
}
