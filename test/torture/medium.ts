/**
 * The disk after a power cut, computed from the log of changes: which of them survive depends on flushes and
 * chance.
 */
import {
  mkdirSync,
  openSync,
  closeSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { Layout } from "../fwup/layout.ts";
import { damage, type Card } from "./card.ts";
import type { Change } from "./change-log.ts";
import type { Random } from "./random.ts";

/** The files of the folder at the power cut, by their paths in it. */
export type Medium = ReadonlyMap<string, Buffer>;

/** The disk image. On a board this is not a file but the medium itself. */
export const DISK = "disk.img";

/**
 * Which changes survive a power cut, of those since the last flush.
 *
 * - `nothing`: all changes are lost
 * - `all`: all changes survive
 * - `some-first`: the changes up to some point survive, and some sectors of the last one
 * - `any`: sectors survive in any order
 */
export type Kept = "nothing" | "all" | "some-first" | "any";

export interface Cut {
  readonly kept: Kept;
  /**
   * fwup opens devices with O_DIRECT: what it wrote is on the medium in order, except for sectors of its
   * last write. That does not flush what the agent wrote to other sectors. Without this option it is like any other
   * file, and the writes before a flush come in any order.
   */
  readonly direct: boolean;
  readonly random: Random;
  /** A card that loses flushed sectors too, beside those that are being written. */
  readonly card?: Card | undefined;
  /** Called with the sectors that the card lost. */
  readonly onLoss?: (sectors: ReadonlySet<number>) => void;
}

const SECTOR_BYTES = 512;
const CHUNK_BYTES = 64 * 1024;

export function readMedium(folder: string): Medium {
  const files = new Map<string, Buffer>();
  for (const entry of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const path = join(folder, entry);
    if (statSync(path).isFile()) files.set(entry, readFileSync(path));
  }
  return files;
}

/** Writes sparse files. @returns their names by inode */
export function writeMedium(medium: Medium, folder: string): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of medium) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    const file = openSync(path, "w", 0o600);
    for (let at = 0; at < content.length; at += CHUNK_BYTES) {
      const chunk = content.subarray(at, at + CHUNK_BYTES);
      if (!chunk.equals(ZEROS.subarray(0, chunk.length))) writeSync(file, chunk, 0, chunk.length, at);
    }
    closeSync(file);
    truncateSync(path, content.length);
    names.set(statSync(path).ino, name);
  }
  return names;
}

const ZEROS = Buffer.alloc(CHUNK_BYTES);

/**
 * The medium after a power cut.
 *
 * Names change in the order of the log, as in a journaling file system, and are safe once their folder is
 * synced; a file's content is safe once the file is synced.
 * @param before what it held when the log began
 * @param inodes of `before`
 */
export function afterCut(
  before: Medium,
  inodes: ReadonlyMap<number, string>,
  changes: readonly Change[],
  cut: Cut,
): Medium {
  /** The files by inode number; a later file may get the same number. */
  const files = new Map<number, StoredFile>();
  const entries = new Map<string, StoredFile | undefined>();
  for (const [inode, name] of inodes) {
    const file = storedFile(name, before.get(name) ?? Buffer.alloc(0));
    files.set(inode, file);
    entries.set(name, file);
  }
  const names: { readonly change: Change; readonly file: StoredFile | undefined }[] = [];
  let safeNames = 0;
  for (const [index, change] of changes.entries()) {
    if (change.kind === "create") files.set(change.inode, storedFile(change.name, Buffer.alloc(0)));
    const file = files.get(change.inode);
    switch (change.kind) {
      case "write":
        if (cut.direct && change.byChild && file?.name === DISK && index < changes.length - 1)
          writeThrough(file, change);
        else file?.pending.push(change);
        break;
      case "resize":
        file?.pending.push(change);
        break;
      case "sync":
        if (change.ofFolder) safeNames = names.length;
        else if (file !== undefined) flush(file);
        break;
      case "died":
        break;
      default:
        names.push({ change, file });
    }
  }

  for (const { change, file } of names.slice(0, countKept(safeNames, names.length, cut))) {
    if (change.kind === "create") entries.set(change.name, file);
    if (change.kind === "unlink") entries.delete(change.name);
    if (change.kind === "rename") {
      entries.set(change.to, entries.get(change.name));
      entries.delete(change.name);
    }
  }
  const medium = new Map<string, Buffer>();
  for (const [name, file] of entries) if (file !== undefined) medium.set(name, contentAfter(file, cut));
  const disk = entries.get(DISK);
  if (cut.card !== undefined && disk !== undefined) {
    const content = medium.get(DISK) ?? Buffer.alloc(0);
    const atBoot = before.get(DISK) ?? Buffer.alloc(0);
    const writes = disk.pending.filter((change) => change.kind === "write");
    cut.onLoss?.(damage(content, atBoot, writes, cut.card, cut.random));
  }
  return medium;
}

/**
 * Adds the write to the disk image that a killed process made and did not log, if there is one.
 * @param logged the disk image by the log
 * @param found as it is
 * @returns undefined when nobody was killed in a change that could be the missing one
 */
export function withUnlogged(
  changes: readonly Change[],
  { logged, found, inode, endsInChange }: UnloggedDisk,
): readonly Change[] | undefined {
  const died = changes.findLastIndex(({ kind }) => kind === "died");
  const at = died === -1 && endsInChange ? changes.length : died;
  if (at === -1 || logged.length !== found.length) return undefined;
  const first = found.findIndex((byte, index) => byte !== logged[index]);
  const last = found.findLastIndex((byte, index) => byte !== logged[index]);
  const data = found.subarray(first, last + 1);
  return changes.toSpliced(at, 0, { kind: "write", inode, offset: first, data, byChild: true, process: 0 });
}

/**
 * Whether fwup had switched to a slot, and nothing had been flushed since, when the log ended: a disk without order may
 * keep the switch and lose the slot.
 * @param inode of the disk image
 */
export function switchIsUnflushed(changes: readonly Change[], inode: number, layout: Layout): boolean {
  const { environmentOffset, secondEnvironmentOffset = environmentOffset, environmentBlocks } = layout;
  const flushed = changes.findLastIndex((change) => change.kind === "sync" && change.inode === inode);
  return changes.slice(flushed + 1).some((change) => {
    if (change.kind !== "write" || !change.byChild || change.inode !== inode) return false;
    return [environmentOffset, secondEnvironmentOffset].some((first) => {
      const [from, to] = [first * SECTOR_BYTES, (first + environmentBlocks) * SECTOR_BYTES];
      return change.offset < to && change.offset + change.data.length > from;
    });
  });
}

interface UnloggedDisk {
  readonly logged: Buffer;
  readonly found: Buffer;
  /** Of the disk image. */
  readonly inode: number;
  /** Whether the log ends in a change that is not over. */
  readonly endsInChange: boolean;
}

function countKept(safe: number, all: number, { kept, random }: Cut): number {
  if (kept === "nothing") return safe;
  return kept === "all" ? all : random.int(safe, all);
}

type ContentChange = Extract<Change, { kind: "write" | "resize" }>;

interface StoredFile {
  readonly name: string;
  /** The content at its last flush. */
  safe: Buffer;
  /** The changes since then. */
  pending: ContentChange[];
}

function storedFile(name: string, content: Buffer): StoredFile {
  return { name, safe: Buffer.from(content), pending: [] };
}

function flush(file: StoredFile): void {
  file.safe = whole(file.safe, file.pending);
  file.pending = [];
}

/** A direct write. The kernel first writes what it still holds of these sectors. */
function writeThrough(file: StoredFile, change: Extract<Change, { kind: "write" }>): void {
  const end = change.offset + change.data.length;
  const overlaps = (other: ContentChange): boolean =>
    other.kind === "write" && other.offset < end && change.offset < other.offset + other.data.length;
  file.safe = whole(file.safe, [...file.pending.filter(overlaps), change]);
  file.pending = file.pending.filter((other) => !overlaps(other));
}

function contentAfter({ safe, pending }: StoredFile, { kept, random }: Cut): Buffer {
  const torn = (content: Buffer, changes: readonly ContentChange[]): Buffer =>
    changes.reduce((so, change) => apply(so, change, () => random.chance(0.5)), content);
  switch (kept) {
    case "nothing":
      return safe;
    case "all":
      return whole(safe, pending);
    case "any":
      return torn(safe, pending);
    case "some-first": {
      const count = random.int(0, pending.length);
      return torn(whole(safe, pending.slice(0, count)), pending.slice(count, count + 1));
    }
  }
}

function whole(content: Buffer, changes: readonly ContentChange[]): Buffer {
  return changes.reduce((so, change) => apply(so, change, () => true), content);
}

/** Applies those sectors of a change to `content` for which `keeps` is true, as far as `content` reaches. */
function apply(content: Buffer, change: ContentChange, keeps: () => boolean): Buffer {
  if (change.kind === "resize") return keeps() ? resized(content, change.sizeBytes) : content;
  const { offset, data } = change;
  const end = offset + data.length;
  const result = end > content.length ? resized(content, end) : content;
  for (let at = 0; at < data.length;) {
    const length = Math.min(SECTOR_BYTES - ((offset + at) % SECTOR_BYTES), data.length - at);
    if (keeps()) data.copy(result, offset + at, at, at + length);
    at += length;
  }
  return result;
}

function resized(content: Buffer, sizeBytes: number): Buffer {
  const result = Buffer.alloc(sizeBytes);
  content.copy(result);
  return result;
}
