/** Partition tables as fwup writes them. */
import { BLOCK_BYTES } from "./block-cache.ts";
import { FwupError } from "./fwup-error.ts";
import { numberSetting, sectionsOf, textSetting, type Section } from "./meta-conf.ts";

const SIGNATURE_AT = 440;
const TABLE_AT = 446;
const ENTRY_BYTES = 16;
const PARTITIONS = 4;
const SECTORS_PER_HEAD = 63;
const HEADS_PER_CYLINDER = 255;
const MAX_CYLINDER = 0x3ff;

/** The block at which a partition begins; undefined when `block` is not a master boot record. */
export function partitionOffset(block: Buffer, partition: number): number | undefined {
  if (block.readUInt16BE(510) !== 0x55aa) return undefined;
  return block.readUInt32LE(TABLE_AT + partition * ENTRY_BYTES + 8);
}

/**
 * The master boot record that a meta.conf's `mbr` section describes: primary partitions only.
 * @param deviceBlocks for a partition that expands to the device's end; 0 when not known
 */
export function encodeMbr(section: Section, deviceBlocks: number): Buffer {
  if (textSetting(section, "include-osip") === "true")
    throw new FwupError("mbr_write with an OSIP header isn't supported by this stand-in for fwup");
  const block = Buffer.alloc(BLOCK_BYTES);
  block.write(textSetting(section, "bootstrap-code") ?? "", 0, SIGNATURE_AT, "hex");
  block.writeUInt32LE(numberSetting(section, "signature") ?? 0, SIGNATURE_AT);
  const partitions = sectionsOf(section, "partition").map((each) => readPartition(each));
  const end = Math.max(deviceBlocks, ...partitions.map(({ offset, count }) => offset + count));
  for (const { index, type, boot, expand, offset, count } of partitions) {
    const entry = block.subarray(TABLE_AT + index * ENTRY_BYTES, TABLE_AT + (index + 1) * ENTRY_BYTES);
    const blocks = expand ? end - offset : count;
    if (type > 0) {
      entry[0] = boot ? 0x80 : 0;
      writeCylinderHeadSector(offset, entry.subarray(1, 4));
      entry[4] = type;
      writeCylinderHeadSector(offset + blocks - 1, entry.subarray(5, 8));
    }
    entry.writeUInt32LE(offset, 8);
    entry.writeUInt32LE(blocks, 12);
  }
  block.writeUInt16BE(0x55aa, 510);
  return block;
}

interface Partition {
  readonly index: number;
  readonly type: number;
  readonly boot: boolean;
  readonly expand: boolean;
  readonly offset: number;
  readonly count: number;
}

function readPartition(section: Section): Partition {
  const index = Number(section.title);
  const type = numberSetting(section, "type") ?? -1;
  if (!(index >= 0 && index < PARTITIONS) || type === 0x05 || type === 0x0f)
    throw new FwupError("mbr_write with an extended partition isn't supported by this stand-in for fwup");
  if (type < 0 || type > 0xff) throw new FwupError(`partition ${index}'s type must be between 0 and 255`);
  const offset = numberSetting(section, "block-offset");
  if (offset === undefined) throw new FwupError(`partition ${index}'s block_offset is required`);
  const count = numberSetting(section, "block-count");
  if (count === undefined)
    throw new FwupError(`partition ${index}'s block-count must be specified and less than 2^31 - 1`);
  return {
    index,
    type,
    boot: textSetting(section, "boot") === "true",
    expand: textSetting(section, "expand") === "true",
    offset,
    count,
  };
}

/** Left alone where the old way of counting doesn't reach. */
function writeCylinderHeadSector(block: number, into: Buffer): void {
  if (block > SECTORS_PER_HEAD * HEADS_PER_CYLINDER * MAX_CYLINDER) return;
  const cylinder = Math.floor(block / (SECTORS_PER_HEAD * HEADS_PER_CYLINDER));
  into[0] = Math.floor(block / SECTORS_PER_HEAD) % HEADS_PER_CYLINDER;
  into[1] = ((cylinder & 0x300) >> 2) | ((block % SECTORS_PER_HEAD) + 1);
  into[2] = cylinder & 0xff;
}
