/**
 * Cards that lose flushed data. A card erases many sectors at once: to change one it copies the block around it, and a
 * power cut in the middle may lose sectors that were flushed long ago, or bring back older content. Nothing that the
 * agent does can prevent that; the layout decides what lies beside the sectors that an update writes.
 */
import type { Layout } from "../fwup/layout.ts";
import type { Slot } from "./boot-loader.ts";
import type { Random } from "./random.ts";

/** How a card fails when the power is cut during a write. */
export interface Card {
  readonly eraseBlockBytes: number;
  /** `loses`: sectors of the block are erased; `mixes up`: they have the content that they had at the boot. */
  readonly how: "loses" | "mixes up";
}

const SECTOR_BYTES = 512;

export function drawCard(random: Random): Card {
  return {
    eraseBlockBytes: random.pick([16, 128, 1024] as const) * 1024,
    how: random.pick(["loses", "mixes up"] as const),
  };
}

export function describeCard({ eraseBlockBytes, how }: Card): string {
  return `card that ${how} flushed sectors within ${eraseBlockBytes / 1024} KiB`;
}

/**
 * Damages the erase blocks of the writes that were under way at a power cut.
 * @param disk is changed
 * @param atBoot what it held when the board booted
 * @returns the sectors that now hold something else
 */
export function damage(
  disk: Buffer,
  atBoot: Buffer,
  writes: readonly { readonly offset: number; readonly data: Buffer }[],
  { eraseBlockBytes, how }: Card,
  random: Random,
): ReadonlySet<number> {
  const blocks = new Set<number>();
  for (const { offset, data } of writes) {
    const last = Math.floor((offset + data.length - 1) / eraseBlockBytes);
    for (let block = Math.floor(offset / eraseBlockBytes); block <= last; block++) blocks.add(block);
  }
  const erased = Buffer.alloc(SECTOR_BYTES, 0xff);
  const hit = new Set<number>();
  for (const block of blocks) {
    const end = Math.min(disk.length, (block + 1) * eraseBlockBytes);
    for (let at = block * eraseBlockBytes; at < end; at += SECTOR_BYTES) {
      if (random.chance(0.5)) continue;
      const content = how === "loses" ? erased : atBoot.subarray(at, at + SECTOR_BYTES);
      if (content.equals(disk.subarray(at, at + SECTOR_BYTES))) continue;
      content.copy(disk, at);
      hit.add(at / SECTOR_BYTES);
    }
  }
  return hit;
}

/** Where the boot script keeps its backup of an environment that is kept once, as in boot.cmd. */
const BACKUP_SECTOR = 0x110;

/** Why a board may be lost with these sectors; undefined when it must get by. */
export function fatalLoss(
  sectors: ReadonlySet<number>,
  layout: Layout,
  runningSlot: Slot,
  firmwareSectors: number,
): string | undefined {
  const isHit = (offset: number, count: number): boolean =>
    [...sectors].some((sector) => sector >= offset && sector < offset + count);
  if (isHit(0, 1)) return "the partition table";
  if (isHit(runningSlot === "a" ? layout.slotAOffset : layout.slotBOffset, firmwareSectors))
    return "a part of the running slot";
  const { environmentOffset, environmentBlocks, secondEnvironmentOffset = BACKUP_SECTOR } = layout;
  const isBoth =
    isHit(environmentOffset, environmentBlocks) && isHit(secondEnvironmentOffset, environmentBlocks);
  return isBoth ? "the environment and its second copy" : undefined;
}
