/** Reads a disk that fwup wrote, so that a test can compare it: partition table, environment, slots. */
import { open, type FileHandle } from "node:fs/promises";
import { BLOCK_BYTES } from "./block-cache.ts";
import { DEFAULT_LAYOUT } from "./layout.ts";
import { partitionOffset } from "./mbr.ts";

/** The content of a board's disk. */
export interface DiskContent {
  readonly environment: Record<string, string>;
  /** The block at which partition 1 begins; undefined without a partition table. */
  readonly partition1Block: number | undefined;
  readonly slotA: Buffer;
  readonly slotB: Buffer;
}

/** Reads a disk of the default layout, and the first `slotBytes` of each slot. */
export async function readDisk(path: string, slotBytes: number): Promise<DiskContent> {
  const disk = await open(path, "r");
  try {
    const { environmentOffset, environmentBlocks, slotAOffset, slotBOffset } = DEFAULT_LAYOUT;
    const environment = await read(disk, environmentOffset, environmentBlocks * BLOCK_BYTES);
    return {
      environment: parseEnvironment(environment),
      partition1Block: partitionOffset(await read(disk, 0, BLOCK_BYTES), 1),
      slotA: await read(disk, slotAOffset, slotBytes),
      slotB: await read(disk, slotBOffset, slotBytes),
    };
  } finally {
    await disk.close();
  }
}

async function read(disk: FileHandle, block: number, sizeBytes: number): Promise<Buffer> {
  const bytes = Buffer.alloc(sizeBytes);
  await disk.read(bytes, 0, sizeBytes, block * BLOCK_BYTES);
  return bytes;
}

function parseEnvironment(bytes: Buffer): Record<string, string> {
  const text = bytes.toString("utf8", 4, bytes.indexOf("\0\0", 4));
  const pairs = text.split("\0").map((entry) => /^([^=]+)=(.*)$/s.exec(entry)?.slice(1) ?? []);
  return Object.fromEntries(pairs.filter((pair) => pair.length === 2)) as Record<string, string>;
}
