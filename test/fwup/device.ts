/** The device or image that an update is written to: how it is opened, created, measured and unmounted. */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  statSync,
  type Stats,
} from "node:fs";
import { BLOCK_BYTES } from "./block-cache.ts";
import { FwupError } from "./fwup-error.ts";
import type { Output } from "./output.ts";

/** An open block device or image. */
export interface Device {
  readonly fd: number;
  readonly isRegularFile: boolean;
  /** 0 when not known. */
  readonly sizeBytes: number;
}

/**
 * Opens a block device or an image; makes the image when it is missing, as fwup does.
 * @throws FwupError when it can't be opened for writing
 */
export function openDevice(path: string, unmount: boolean, output: Output): Device {
  const stats = statSync(path, { throwIfNoEntry: false });
  const isRegularFile = stats === undefined ? !path.startsWith("/dev/") : stats.isFile();
  if (isRegularFile) {
    const fd = openOr(path, constants.O_RDWR | constants.O_CREAT);
    const { mode, size } = fstatSync(fd);
    if ((mode & 0o222) !== 0) return { fd, isRegularFile, sizeBytes: size };
    closeSync(fd); // root may write to a read-only file; but it is surely a mistake
    throw cannotOpen(path);
  }
  if (unmount) unmountAll(path, output);
  const sizeBytes = stats === undefined ? undefined : deviceBytes(stats);
  if (sizeBytes === undefined) output.info(`Error determining the size of ${path}`);
  return { fd: openOr(path, constants.O_RDWR), isRegularFile, sizeBytes: sizeBytes ?? 0 };
}

function openOr(path: string, flags: number): number {
  try {
    return openSync(path, flags, 0o644);
  } catch (error) {
    throw cannotOpen(path, error);
  }
}

function cannotOpen(path: string, cause?: unknown): FwupError {
  const reason = existsSync(path)
    ? `Cannot open '${path}' for output.\nCheck file permissions or the read-only tab if this is an SD Card.`
    : `Cannot create '${path}'.\nCheck the path and permissions on the containing directory.`;
  return new FwupError(reason, { cause });
}

/** Linux packs device numbers so: 12 bits of major within 20 bits of minor. */
function deviceBytes({ rdev }: Stats): number | undefined {
  const major = (rdev >> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >> 12) & 0xfff00);
  const path = `/sys/dev/block/${major}:${minor}/size`;
  return existsSync(path) ? Number(readFileSync(path, "utf8")) * BLOCK_BYTES : 0;
}

/** Unmounts the device and its partitions. */
function unmountAll(device: string, output: Output): void {
  const folders = readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .filter((line) => line.startsWith(device))
    .map((line) =>
      (line.split(" ")[1] ?? "").replace(/\\(\d{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      ),
    );
  const failed = folders.filter((folder) => spawnSync("/bin/umount", [folder]).status !== 0);
  for (const folder of failed) output.info(`Error calling umount on '${folder}'`);
  if (failed.length > 0) process.exit(1); // no more is said
}
