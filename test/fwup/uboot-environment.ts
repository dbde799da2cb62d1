/**
 * The U-Boot environment as fwup reads and writes it. It shares no code with src/firmware, so that a mistake
 * there shows.
 */
import { crc32 } from "node:zlib";
import { BLOCK_BYTES, type BlockCache } from "./block-cache.ts";
import { FwupError } from "./fwup-error.ts";
import { numberSetting, type Section } from "./meta-conf.ts";

/** The place of a U-Boot environment. When there is a second copy, the copies are written in turns. */
export interface EnvironmentPlace {
  readonly offsetBytes: number;
  readonly redundantOffsetBytes?: number | undefined;
  readonly sizeBytes: number;
}

/** Its variables, and the values that the next write needs. */
export interface Environment {
  readonly variables: Map<string, string>;
  /** The copies to write, by offset: the one that was not read, or all of them. */
  readonly writeTo: readonly number[];
  /** The flag of the copy that was read; the next write has the next number. Unused without a second copy. */
  readonly flags: number;
}

/** The place that a meta.conf's `uboot-environment` section gives. */
export function environmentPlace(section: Section): EnvironmentPlace {
  const blocks = numberSetting(section, "block-count") ?? 0;
  if (blocks === 0 || blocks >= 0xffff) throw new FwupError("invalid u-boot environment block count");
  const redundant = numberSetting(section, "block-offset-redund");
  return {
    offsetBytes: (numberSetting(section, "block-offset") ?? 0) * BLOCK_BYTES,
    redundantOffsetBytes: redundant === undefined ? undefined : redundant * BLOCK_BYTES,
    sizeBytes: blocks * BLOCK_BYTES,
  };
}

/** The units of progress of one write. */
export function environmentUnits(place: EnvironmentPlace): number {
  return place.redundantOffsetBytes === undefined ? place.sizeBytes : place.sizeBytes * 2;
}

/** An environment without variables, for all copies. */
export function emptyEnvironment(place: EnvironmentPlace): Environment {
  const { offsetBytes, redundantOffsetBytes } = place;
  const writeTo = redundantOffsetBytes === undefined ? [offsetBytes] : [offsetBytes, redundantOffsetBytes];
  return { variables: new Map(), writeTo, flags: 0 };
}

/**
 * Reads the newest good copy.
 * @throws FwupError when there is none
 */
export function readEnvironment(cache: BlockCache, place: EnvironmentPlace): Environment {
  const { offsetBytes, redundantOffsetBytes, sizeBytes } = place;
  if (redundantOffsetBytes === undefined)
    return { ...emptyEnvironment(place), variables: decode(cache.read(offsetBytes, sizeBytes), place, 4) };
  const first = { at: offsetBytes, bytes: cache.read(offsetBytes, sizeBytes) };
  const second = { at: redundantOffsetBytes, bytes: cache.read(redundantOffsetBytes, sizeBytes) };
  const ahead = (second.bytes.readUInt8(4) - first.bytes.readUInt8(4)) & 0xff; // a counter that wraps
  const order = ahead === 0 || ahead >= 128 ? ([first, second] as const) : ([second, first] as const);
  const use = (copy: typeof first, other: typeof first): Environment => ({
    variables: decode(copy.bytes, place, 5),
    writeTo: [other.at],
    flags: copy.bytes.readUInt8(4),
  });
  try {
    return use(order[0], order[1]);
  } catch {
    return use(order[1], order[0]); // the older copy is what the second one is for
  }
}

/** @throws FwupError when the variables don't fit */
export function writeEnvironment(cache: BlockCache, place: EnvironmentPlace, environment: Environment): void {
  const start = place.redundantOffsetBytes === undefined ? 4 : 5;
  const bytes = Buffer.alloc(place.sizeBytes, 0xff);
  let at = start;
  for (const [name, value] of [...environment.variables].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const entry = Buffer.from(`${name}=${value}\0`);
    if (at + entry.length - 1 >= bytes.length - 2)
      throw new FwupError("Not enough room in U-boot environment");
    at += entry.copy(bytes, at);
  }
  bytes[at] = 0;
  bytes.writeUInt32LE(crc32(bytes.subarray(start)), 0);
  if (start === 5) bytes[4] = environment.flags + 1;
  for (const offset of environment.writeTo) cache.write(offset, bytes, false);
}

function decode(bytes: Buffer, place: EnvironmentPlace, start: number): Map<string, string> {
  const expected = bytes.readUInt32LE(0);
  const actual = crc32(bytes.subarray(start));
  if (expected !== actual) {
    const hex = (value: number): string => `0x${value.toString(16).padStart(8, "0")}`;
    const block = place.offsetBytes / BLOCK_BYTES;
    throw new FwupError(
      `U-boot environment (block ${block}) CRC32 mismatch (expected ${hex(expected)}; got ${hex(actual)})`,
    );
  }
  const variables = new Map<string, string>();
  for (let at = start; at < bytes.length && bytes[at] !== 0;) {
    const end = bytes.indexOf(0, at);
    const entry = bytes.toString("utf8", at, end);
    const equals = entry.indexOf("=", 1);
    if (end < 0 || equals < 0) throw new FwupError("Invalid U-boot environment");
    variables.set(entry.slice(0, equals), entry.slice(equals + 1));
    at = end + 1;
  }
  return variables;
}
