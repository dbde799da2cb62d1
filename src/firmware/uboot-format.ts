/**
 * The two formats of a U-Boot environment: fw_env.config, which says where its copies are, and the bytes of a copy.
 * Those are CRC32 (little endian) of what follows it or its flag byte, in a redundant environment one flag byte, then
 * `name=value` strings that each end with a NUL, an empty string as the end, padding.
 *
 * The U-Boot tools read the same file, so its numbers are read as they read them. Names and values are byte strings
 * here (latin1): any bytes of a variable come back unchanged when another one is written.
 */
import { crc32 } from "node:zlib";
import { Failure } from "../platform/failure.ts";

/** The bytes of one copy, and what to call it in a message: its device and offset. */
export interface StoredCopy {
  readonly bytes: Uint8Array;
  readonly name: string;
}

/** The variables that one or two copies hold. */
export interface StoredEnvironment {
  readonly variables: ReadonlyMap<string, string>;
  /** The index of the copy that was read: the newest good one. */
  readonly current: number;
  /** The flag byte of that copy; 0 when there is only one. */
  readonly flag: number;
}

const CRC_BYTES = 4;
/** When there are two copies, each has a flag byte after its CRC. */
const REDUNDANT_HEADER_BYTES = 5;

/**
 * Reads the newest good copy.
 * @param copies one, or two of a redundant environment
 * @param configPath the fw_env.config that led there, for the message
 * @throws Failure `environment_damaged` when no copy is good; the message tells a blank one from a damaged one
 */
export function decodeEnvironment(copies: readonly StoredCopy[], configPath: string): StoredEnvironment {
  const redundant = copies.length > 1;
  let newest: StoredEnvironment | undefined;
  for (const [index, { bytes }] of copies.entries()) {
    const variables = decodeCopy(bytes, redundant);
    if (variables === undefined) continue;
    const flag = redundant ? (bytes[CRC_BYTES] ?? 0) : 0;
    if (newest === undefined || isNewer(flag, newest.flag)) newest = { variables, current: index, flag };
  }
  if (newest !== undefined) return newest;
  const names = copies.map(({ name }) => name).join(" and ");
  if (copies.every(({ bytes }) => isBlank(bytes))) {
    throw new Failure(
      "environment_damaged",
      `the U-Boot environment of ${names} is blank; install the firmware's complete task or write it with fw_setenv, or correct ${configPath}`,
    );
  }
  throw new Failure(
    "environment_damaged",
    `the U-Boot environment of ${names} is damaged (wrong CRC); correct device, offset, size and number of copies in ${configPath}, or write it anew`,
  );
}

/**
 * The bytes of one copy, variables in the order of their names.
 * @param flag the flag byte of a redundant copy; none for the only copy
 * @throws Failure `config` for a name or value that can't be stored, or when they don't fit
 */
export function encodeEnvironment(
  variables: ReadonlyMap<string, string>,
  sizeBytes: number,
  flag?: number,
): Uint8Array {
  let text = "";
  for (const [name, value] of [...variables].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (name === "" || /[=\0]/.test(name)) {
      throw new Failure(
        "config",
        `${JSON.stringify(name)} can't name a U-Boot variable; use a name without = and NUL`,
      );
    }
    if (value.includes("\0")) {
      throw new Failure("config", `the value for the U-Boot variable ${name} holds a NUL; take it out`);
    }
    text += `${name}=${value}\0`;
  }
  const headerBytes = flag === undefined ? CRC_BYTES : REDUNDANT_HEADER_BYTES;
  const neededBytes = headerBytes + text.length + 1;
  if (neededBytes > sizeBytes) {
    throw new Failure(
      "config",
      `the variables need ${neededBytes} bytes, the U-Boot environment has ${sizeBytes}; remove some or shorten them`,
    );
  }
  const bytes = Buffer.alloc(sizeBytes);
  bytes.write(text, headerBytes, "latin1");
  if (flag !== undefined) bytes.writeUInt8(flag, CRC_BYTES);
  bytes.writeUInt32LE(crc32(bytes.subarray(headerBytes)), 0);
  return bytes;
}

/** Undefined when its CRC is wrong or its last string has no end. */
function decodeCopy(bytes: Uint8Array, redundant: boolean): Map<string, string> | undefined {
  const headerBytes = redundant ? REDUNDANT_HEADER_BYTES : CRC_BYTES;
  if (bytes.length <= headerBytes) return undefined;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (buffer.readUInt32LE(0) !== crc32(buffer.subarray(headerBytes))) return undefined;
  const variables = new Map<string, string>();
  let start = headerBytes;
  while (start < buffer.length && buffer[start] !== 0) {
    const end = buffer.indexOf(0, start);
    if (end === -1) return undefined;
    const entry = buffer.toString("latin1", start, end);
    const equals = entry.indexOf("=");
    // U-Boot and libubootenv pass over a string that names nothing, and so lose it at their next write.
    if (equals > 0) variables.set(entry.slice(0, equals), entry.slice(equals + 1));
    start = end + 1;
  }
  return variables;
}

/**
 * Whether the second of two good copies is newer than the first: the flag counts writes and wraps from
 * 255 to 0, as U-Boot's env_check_redund and libubootenv have it for block devices and files. The
 * 1 (active) and 0 (obsolete) of NOR flash come out right too.
 */
function isNewer(flag: number, than: number): boolean {
  if (than === 255 && flag === 0) return true;
  if (than === 0 && flag === 255) return false;
  return flag > than;
}

/** Erased flash reads as ones; a new disk image as zeros. */
function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0xff) || bytes.every((byte) => byte === 0);
}

/** Where one copy of the U-Boot environment is stored. */
export interface EnvironmentLocation {
  /** A block device or an image file; a relative path starts at the working folder. */
  readonly device: string;
  /** From the start of the device; from its end when negative. */
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** One location, or two of the same size for a redundant environment. */
export type EnvironmentLocations =
  readonly [EnvironmentLocation] | readonly [EnvironmentLocation, EnvironmentLocation];

/** A CRC, a flag byte, one variable and the closing NULs fit. */
const MIN_SIZE_BYTES = 16;
/** Far above any board's; bounds the memory that a slip in the file can cost. */
const MAX_SIZE_BYTES = 4 * 1024 * 1024;

/**
 * Parses `fw_env.config`: `device offset size [sector size] [sectors]`, one line for each copy.
 *
 * Numbers are those of the U-Boot tools, which share the file (libubootenv's `uboot_env.c`, U-Boot's
 * `fw_env.c`): an offset is written as in C and counts from the end of the device when negative, a size is
 * hexadecimal with or without its `0x`. Sectors matter to raw flash only and are ignored.
 * @throws Failure `config` naming `path` and the line
 */
export function parseEnvironmentConfig(text: string, path: string): EnvironmentLocations {
  const locations: EnvironmentLocation[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const fields = line.replace(/(^|\s)#.*/, "").match(/\S+/g);
    if (fields !== null) locations.push(parseLine(fields, `${path} line ${index + 1}`));
  }
  const [first, second, third] = locations;
  if (first === undefined) {
    throw new Failure("config", `${path} names no device; write a line \`device offset size\``);
  }
  if (second === undefined) return [first];
  if (third !== undefined) {
    throw new Failure("config", `${path} names more than two devices; an environment has at most two copies`);
  }
  if (first.sizeBytes !== second.sizeBytes) {
    throw new Failure("config", `${path}: the two copies differ in size; give both lines the same`);
  }
  const fromSameEnd = first.offsetBytes < 0 === second.offsetBytes < 0;
  const apart = Math.abs(first.offsetBytes - second.offsetBytes);
  if (first.device === second.device && fromSameEnd && apart < first.sizeBytes) {
    throw new Failure("config", `${path}: the two copies overlap; correct their offsets or size`);
  }
  return [first, second];
}

function parseLine(fields: readonly string[], where: string): EnvironmentLocation {
  const [device = "", offset, size] = fields;
  if (device === "-" || device.endsWith(":") || offset?.startsWith(":") === true) {
    throw new Failure(
      "config",
      `${where}: libubootenv's YAML form is not understood; write lines \`device offset size\` instead`,
    );
  }
  if (offset === undefined || size === undefined) {
    throw new Failure("config", `${where}: expected \`device offset size\``);
  }
  const offsetBytes = parseOffset(offset);
  if (offsetBytes === undefined) {
    throw new Failure("config", `${where}: the offset ${offset} is not a number such as 0x2000`);
  }
  const sizeBytes = /^(0x)?[0-9a-f]+$/i.test(size) ? Number.parseInt(size, 16) : undefined;
  if (sizeBytes === undefined) {
    throw new Failure("config", `${where}: the size ${size} is not a hexadecimal number such as 0x2000`);
  }
  if (sizeBytes < MIN_SIZE_BYTES || sizeBytes > MAX_SIZE_BYTES) {
    throw new Failure(
      "config",
      `${where}: the size ${size} (hexadecimal) is ${sizeBytes} bytes, not from ${MIN_SIZE_BYTES} to ${MAX_SIZE_BYTES}`,
    );
  }
  return { device, offsetBytes, sizeBytes };
}

/** As C's `%lli`: hexadecimal after `0x`, octal after `0`, else decimal; with a sign or without. Not unsafe. */
function parseOffset(text: string): number | undefined {
  const [, sign, digits = ""] = /^([-+]?)(.*)$/s.exec(text) ?? [];
  let value: number | undefined;
  if (/^0x[0-9a-f]+$/i.test(digits)) value = Number.parseInt(digits, 16);
  else if (/^0[0-7]*$/.test(digits)) value = Number.parseInt(digits, 8);
  else if (/^[1-9][0-9]*$/.test(digits)) value = Number.parseInt(digits, 10);
  if (value === undefined || value > Number.MAX_SAFE_INTEGER - MAX_SIZE_BYTES) return undefined;
  return sign === "-" && value > 0 ? -value : value;
}
