/**
 * fw_env.config: where the copies of the U-Boot environment are. The U-Boot tools read the same file, so its
 * numbers are read as they read them.
 */
import { Failure } from "../platform/failure.ts";

/** Where one copy of the U-Boot environment is stored. */
export interface EnvironmentLocation {
  /** A block device or an image file; a relative path starts at the working folder. */
  readonly device: string;
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
 * `fw_env.c`): an offset is written as in C, a size is hexadecimal with or without its `0x`. Sectors
 * matter to raw flash only and are ignored.
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
  if (first.device === second.device && Math.abs(first.offsetBytes - second.offsetBytes) < first.sizeBytes) {
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

/** As C's `%lli`: hexadecimal after `0x`, octal after `0`, else decimal. Not negative, not unsafe. */
function parseOffset(text: string): number | undefined {
  let value: number | undefined;
  if (/^0x[0-9a-f]+$/i.test(text)) value = Number.parseInt(text, 16);
  else if (/^0[0-7]*$/.test(text)) value = Number.parseInt(text, 8);
  else if (/^[1-9][0-9]*$/.test(text)) value = Number.parseInt(text, 10);
  return value !== undefined && value <= Number.MAX_SAFE_INTEGER - MAX_SIZE_BYTES ? value : undefined;
}
