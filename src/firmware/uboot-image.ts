/**
 * The bytes of a U-Boot environment: CRC32 (little endian) of what follows it or its flag byte, in a
 * redundant environment one flag byte, then `name=value` strings that each end with a NUL, an empty
 * string as the end, padding.
 *
 * Names and values are byte strings here (latin1): whatever bytes a variable holds come back unchanged
 * when another one is written.
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
/** Of two copies each carries a flag byte after its CRC. */
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
