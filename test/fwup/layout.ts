/** The layout of the test boards' disks. */
import { BLOCK_BYTES } from "./block-cache.ts";

/** The places of everything on a test board's disk, in blocks of 512 bytes. */
export interface Layout {
  readonly environmentOffset: number;
  readonly environmentBlocks: number;
  readonly slotAOffset: number;
  readonly slotBOffset: number;
  readonly slotBlocks: number;
  readonly dataOffset: number;
  readonly dataBlocks: number;
  /** The offset of the environment's second copy, on boards that have one. */
  readonly secondEnvironmentOffset?: number;
  /** Blocks that hold nothing. */
  readonly unused?: { readonly offset: number; readonly blocks: number };
  /**
   * How the booted slot is chosen: by the partition table, in which the slot is the first partition, or by
   * `nerves_fw_active` alone, as on the cards of buildroot/. Those cards count a slot's boots on trial in
   * `nerves_fw_booted`.
   */
  readonly bootedBy: "partition-table" | "environment";
}

/** The layout of the shared fixtures with slots of another size. */
export function layoutWithSlots(slotBlocks: number): Layout {
  const slotAOffset = 2048;
  const slotBOffset = slotAOffset + slotBlocks;
  return {
    environmentOffset: 16,
    environmentBlocks: 16,
    slotAOffset,
    slotBOffset,
    slotBlocks,
    dataOffset: slotBOffset + slotBlocks,
    dataBlocks: 8192,
    bootedBy: "partition-table",
  };
}

/** The layout of the shared fixtures: slots of 4 MiB. */
export const DEFAULT_LAYOUT = layoutWithSlots(8192);

export function diskBytes({ dataOffset, dataBlocks }: Layout): number {
  return (dataOffset + dataBlocks) * BLOCK_BYTES;
}
