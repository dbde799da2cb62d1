/**
 * Reading and writing U-Boot's variables. A redundant environment is replaced one copy at a time, the obsolete
 * one first, so that a power cut leaves the old or the new variables. Accesses of this process take turns: two
 * writers would each replace the same copy.
 */
import { type FileHandle, open, readFile, stat } from "node:fs/promises";
import { Failure, fileFailure } from "../platform/failure.ts";
import { deviceNumber } from "./device-claim.ts";
import {
  decodeEnvironment,
  encodeEnvironment,
  type EnvironmentLocation,
  type EnvironmentLocations,
  parseEnvironmentConfig,
  type StoredEnvironment,
} from "./uboot-format.ts";

/** U-Boot's variables by name. */
export type Variables = ReadonlyMap<string, string>;

/** New values by name; null removes the variable. */
export type VariableChanges = ReadonlyMap<string, string | null>;

/** The end of the last access: reads and writes of this process take turns. */
let lastAccess: Promise<unknown> = Promise.resolve();

/**
 * Reads the U-Boot environment.
 * @param configPath fw_env.config
 * @throws Failure naming the configuration, the line, the device or the offset at fault
 */
export async function readEnvironment(configPath: string): Promise<Variables> {
  return await inTurn(async () => {
    const { variables } = await readStored(configPath, await readConfig(configPath));
    return new Map([...variables].map(([name, value]) => [fromBytes(name), fromBytes(value)]));
  });
}

/**
 * Changes variables and flushes them to the disk. Writes nothing when nothing would change, or when
 * anything is wrong. In a redundant environment the obsolete copy is replaced, so that a power cut
 * leaves the old or the new variables; a single copy has no such protection, with any tool.
 *
 * Other processes are not kept out (the U-Boot tools lock each other by flock, fwup doesn't either):
 * don't call this while fwup runs.
 * @param configPath fw_env.config
 * @throws Failure as {@link readEnvironment}, and for variables that can't be stored
 */
export async function writeVariables(configPath: string, changes: VariableChanges): Promise<void> {
  await inTurn(async () => {
    const locations = await readConfig(configPath);
    const stored = await readStored(configPath, locations);
    const variables = new Map(stored.variables);
    for (const [name, value] of changes) {
      if (value === null) variables.delete(toBytes(name));
      else variables.set(toBytes(name), toBytes(value));
    }
    if (sameVariables(variables, stored.variables)) return;
    const [first, second] = locations;
    if (second === undefined) {
      await writeCopy(first, encodeEnvironment(variables, first.sizeBytes));
    } else {
      const obsolete = stored.current === 0 ? second : first;
      const nextFlag = (stored.flag + 1) % 256;
      await writeCopy(obsolete, encodeEnvironment(variables, obsolete.sizeBytes, nextFlag));
    }
  });
}

async function inTurn<T>(access: () => Promise<T>): Promise<T> {
  const result = lastAccess.then(access);
  lastAccess = result.catch(() => undefined); // its own caller gets the error; the next access is not concerned
  return await result;
}

async function readConfig(configPath: string): Promise<EnvironmentLocations> {
  let text: string;
  try {
    text = await readFile(configPath, "utf8");
  } catch (error) {
    const { code, message } = fileFailure("U-Boot environment configuration", configPath, error);
    throw new Failure(
      code,
      `${message}; correct firmware.uboot_env_config, or set firmware.metadata to "file:PATH" on a board without U-Boot`,
      { cause: error },
    );
  }
  return parseEnvironmentConfig(text, configPath);
}

async function readStored(configPath: string, locations: EnvironmentLocations): Promise<StoredEnvironment> {
  const copies = await Promise.all(
    locations.map(async (location) => ({ bytes: await readCopy(location), name: nameOf(location) })),
  );
  return decodeEnvironment(copies, configPath);
}

async function readCopy(location: EnvironmentLocation): Promise<Uint8Array> {
  const { device, offsetBytes, sizeBytes } = location;
  return await withDevice(device, "r", async (handle) => {
    const startBytes = await startOf(location, handle);
    const bytes = Buffer.alloc(sizeBytes);
    let filledBytes = 0;
    while (filledBytes < sizeBytes) {
      const { bytesRead } = await handle.read(
        bytes,
        filledBytes,
        sizeBytes - filledBytes,
        startBytes + filledBytes,
      );
      if (bytesRead === 0) {
        throw new Failure(
          "environment_damaged",
          `U-Boot environment device ${device} ends before the ${sizeBytes} bytes at ${hex(offsetBytes)}; correct fw_env.config`,
        );
      }
      filledBytes += bytesRead;
    }
    return bytes;
  });
}

async function writeCopy(location: EnvironmentLocation, bytes: Uint8Array): Promise<void> {
  const { device, offsetBytes } = location;
  await withDevice(device, "r+", async (handle) => {
    const startBytes = await startOf(location, handle);
    const { bytesWritten } = await handle.write(bytes, 0, bytes.length, startBytes);
    if (bytesWritten !== bytes.length) {
      throw new Failure(
        "io",
        `U-Boot environment device ${device} took ${bytesWritten} of ${bytes.length} bytes at ${hex(offsetBytes)}`,
      );
    }
    await handle.sync();
  });
}

/**
 * The position of a copy. i.MX boards keep theirs at the end of an eMMC's boot partition, so that U-Boot's fw_env.c and
 * libubootenv (0.3.3 and later) count a negative offset from there.
 */
async function startOf({ device, offsetBytes }: EnvironmentLocation, handle: FileHandle): Promise<number> {
  if (offsetBytes >= 0) return offsetBytes;
  const startBytes = (await sizeOf(handle)) + offsetBytes;
  if (startBytes >= 0) return startBytes;
  throw new Failure(
    "environment_damaged",
    `U-Boot environment device ${device} is shorter than its offset ${hex(offsetBytes)} from the end; correct fw_env.config`,
  );
}

/** Of a file or block device; the file system says 0 for the latter. */
async function sizeOf(handle: FileHandle): Promise<number> {
  const status = await handle.stat();
  if (!status.isBlockDevice()) return status.size;
  const sectors = await readFile(`/sys/dev/block/${deviceNumber(status.rdev)}/size`, "utf8");
  return Number(sectors) * 512; // the kernel's sectors, whatever the disk's are
}

async function withDevice<T>(
  device: string,
  flags: "r" | "r+",
  use: (handle: FileHandle) => Promise<T>,
): Promise<T> {
  try {
    await requireStorage(device);
    const handle = await open(device, flags);
    try {
      return await use(handle);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw fileFailure("U-Boot environment device", device, error);
  }
}

/** Checks the kind of file before it is opened: opening a pipe or a terminal could wait for ever. */
async function requireStorage(device: string): Promise<void> {
  const status = await stat(device);
  if (status.isFile() || status.isBlockDevice()) return;
  const kind = status.isDirectory()
    ? "a directory"
    : status.isCharacterDevice()
      ? "a character device (raw flash must be erased to be written; name its /dev/mtdblock)"
      : "a pipe or socket";
  throw new Failure(
    "config",
    `U-Boot environment device ${device} is ${kind}, not a block device or file; correct fw_env.config`,
  );
}

function sameVariables(a: Variables, b: Variables): boolean {
  return a.size === b.size && [...a].every(([name, value]) => b.get(name) === value);
}

function nameOf({ device, offsetBytes }: EnvironmentLocation): string {
  return `${device} at ${hex(offsetBytes)}`;
}

function hex(value: number): string {
  return `${value < 0 ? "-" : ""}0x${Math.abs(value).toString(16)}`;
}

/** Text as the byte string that its UTF-8 is; see uboot-format.ts. */
function toBytes(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

function fromBytes(bytes: string): string {
  return Buffer.from(bytes, "latin1").toString("utf8");
}
