import { createHash, type Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import type { Clock } from "../platform/clock.ts";
import type { FileVersion } from "./http-file.ts";
import { LineFault } from "./retries.ts";
import type { CacheableFile, KeptState } from "./sidecar.ts";
import { PART_BYTES, VerificationFailure, wrongPart } from "./verify.ts";

/** A stretch of the file: from `offset` to before `end`. */
export interface Stretch {
  readonly offset: number;
  readonly end: number;
}

/**
 * A file on the disk that is being fetched. Where parts are announced, each is proven as soon as it is
 * complete, and after a restart by what is on the disk; nothing else is believed.
 */
export interface CachedFile {
  readonly expected: CacheableFile;
  /** Where it is, and what it is to be called by while it is not complete. */
  readonly path: string;
  /** How many bytes are there, proven or not. */
  readonly bytes: number;
  /** The state of the file on the server that unproven bytes are of; null when it is not known. */
  readonly version: FileVersion | null;
  /** The first stretch within `within` that is missing. */
  gap(within: Stretch): Stretch | undefined;
  /** Whether bytes before `offset` in its part are there and not proven yet. */
  isUnproven(offset: number): boolean;
  /** Notes which state of the file the bytes to come are of. @throws Failure `cache_failed` */
  adopt(version: FileVersion): Promise<void>;
  /**
   * Takes bytes at the start of a gap.
   * @throws VerificationFailure `part_wrong` when they complete a part that is wrong, which is missing then; LineFault
   *   when what came before them was forgotten meanwhile; Failure `cache_failed`
   */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Up to `maxBytes` bytes from `offset` on; none where they are missing. @throws Failure `cache_failed` */
  read(offset: number, maxBytes: number): Promise<Uint8Array>;
  /** Forgets what is not proven: the file on the server is another one by now. */
  forgetUnproven(): void;
  /** Forgets the part that `offset` is in: its bytes are not what they were. */
  forgetPart(offset: number): void;
  /**
   * Proves the complete file where parts are not announced, and flushes it.
   * @throws VerificationFailure `checksum_wrong`, and then all of it is missing; Failure `cache_failed`
   */
  prove(): Promise<void>;
  /** Removes it from the disk. @throws Failure `cache_failed` */
  remove(): Promise<void>;
  /** Keeps what is there for the next who opens it. */
  close(): Promise<void>;
}

export interface CachedFileOptions {
  readonly expected: CacheableFile;
  readonly path: string;
  readonly clock: Clock;
  readonly file: FileHandle;
  readonly kept: KeptState;
  readonly keep: (state: KeptState) => Promise<void>;
  readonly remove: () => Promise<void>;
  /** Turns the disk's errors into Failures `cache_failed`. */
  readonly guard: <T>(work: () => Promise<T>) => Promise<T>;
}

/** The fault of a connection whose bytes can't be joined to those that are there. */
export const CHANGED = "the file on the server has changed; what is not proven is fetched anew";

/** The most that a power cut costs, in time on the line: after so long, what came is flushed. */
const SYNC_MS = 5000;

/** @throws the file system's error */
export async function createCachedFile(options: CachedFileOptions): Promise<CachedFile> {
  const { expected, file, guard, clock } = options;
  const { sizeBytes, parts, checksum } = expected;
  const count = Math.ceil(sizeBytes / PART_BYTES);
  /** How many bytes of each part are there, from its start on. */
  const have = new Array<number>(count).fill(0);
  /** Of parts that are not complete, over what is there. */
  const hashes = new Map<number, Hash>();
  let version = options.kept.version;
  let syncedMs = clock.monotonic();
  let unsynced = false;
  const lengthOf = (part: number): number => Math.min(PART_BYTES, sizeBytes - part * PART_BYTES);
  const isComplete = (part: number): boolean => have[part] === lengthOf(part);
  const startOf = (part: number): number => part * PART_BYTES;
  const partOf = (offset: number): number => Math.floor(offset / PART_BYTES);

  const forget = (part: number): void => {
    have[part] = 0;
    hashes.delete(part);
  };

  const readAt = async (buffer: Buffer, position: number): Promise<Buffer> => {
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  };

  /** Looks at what an earlier download left on the disk. */
  const takeStock = async (): Promise<void> => {
    const { syncedBytes } = options.kept;
    const sameFile = isStrong(version);
    const buffer = Buffer.allocUnsafe(Math.min(PART_BYTES, sizeBytes));
    for (let part = 0; part < count; part += 1) {
      const length = lengthOf(part);
      if (parts === null) {
        // Proven at the end only, so it has to be whole up to there.
        const synced = sameFile ? Math.min(length, Math.max(0, syncedBytes - startOf(part))) : 0;
        const there = await readAt(buffer.subarray(0, synced), startOf(part));
        have[part] = there.length;
        if (there.length < length) return;
        continue;
      }
      const bytes = await readAt(buffer.subarray(0, length), startOf(part));
      if (bytes.length === 0) continue;
      if (bytes.length === length && sha256(bytes) === parts[part]?.toLowerCase()) {
        have[part] = length;
      } else if (sameFile) {
        // A hole reads as zeros; if this guess is wrong the part is, and is fetched again.
        const guess = lengthBeforeZeros(bytes);
        have[part] = guess < length ? guess : 0;
      }
    }
  };

  /** The hash over what is there of a part. */
  const hashOf = async (part: number): Promise<Hash> => {
    let hash = hashes.get(part);
    if (hash === undefined) {
      hash = createHash("sha256").update(await readAt(Buffer.allocUnsafe(have[part] ?? 0), startOf(part)));
      hashes.set(part, hash);
    }
    return hash;
  };

  const firstBytes = (): number => {
    let bytes = 0;
    for (let part = 0; part < count; part += 1) {
      bytes += have[part] ?? 0;
      if (!isComplete(part)) break;
    }
    return bytes;
  };

  const sync = async (): Promise<void> => {
    syncedMs = clock.monotonic();
    unsynced = false;
    const syncedBytes = firstBytes();
    await file.datasync();
    if (parts === null) await options.keep({ version, syncedBytes });
  };

  const writeInPart = async (part: number, offset: number, bytes: Uint8Array): Promise<void> => {
    const hash = parts === null ? undefined : await hashOf(part);
    for (let written = 0; written < bytes.length;) {
      const result = await file.write(bytes, written, bytes.length - written, offset + written);
      written += result.bytesWritten;
    }
    unsynced = true;
    hash?.update(bytes);
    have[part] = (have[part] ?? 0) + bytes.length;
    if (hash !== undefined && isComplete(part)) {
      hashes.delete(part);
      if (hash.digest("hex") !== parts?.[part]?.toLowerCase()) {
        forget(part);
        throw wrongPart(part, count);
      }
    }
    if (clock.monotonic() - syncedMs >= SYNC_MS) await sync();
  };

  await takeStock();

  return {
    expected,
    path: options.path,
    get bytes() {
      return have.reduce((sum, bytes) => sum + bytes, 0);
    },
    get version() {
      return version;
    },
    gap({ offset, end }) {
      for (let part = partOf(offset); startOf(part) < end; part += 1) {
        if (isComplete(part)) continue;
        const from = startOf(part) + (have[part] ?? 0);
        let next = part + 1;
        while (startOf(next) < end && have[next] === 0) next += 1;
        return { offset: from, end: Math.min(startOf(next), end) };
      }
      return undefined;
    },
    isUnproven(offset) {
      return parts === null ? offset > 0 : offset % PART_BYTES > 0;
    },
    async adopt(next) {
      if (version !== null) return;
      version = next;
      await guard(async () => options.keep({ version, syncedBytes: parts === null ? firstBytes() : 0 }));
    },
    async write(offset, bytes) {
      await guard(async () => {
        for (let taken = 0; taken < bytes.length;) {
          const at = offset + taken;
          const part = partOf(at);
          if (at !== startOf(part) + (have[part] ?? 0)) throw new LineFault(CHANGED);
          const piece = bytes.subarray(taken, taken + startOf(part + 1) - at);
          await writeInPart(part, at, piece);
          taken += piece.length;
        }
      });
    },
    async read(offset, maxBytes) {
      const part = partOf(offset);
      const there = startOf(part) + (have[part] ?? 0) - offset;
      if (part >= count || there <= 0) return new Uint8Array();
      if (parts !== null && !isComplete(part)) return new Uint8Array();
      return await guard(async () => readAt(Buffer.allocUnsafe(Math.min(maxBytes, there)), offset));
    },
    forgetUnproven() {
      version = null;
      for (let part = 0; part < count; part += 1) if (parts === null || !isComplete(part)) forget(part);
    },
    forgetPart(offset) {
      forget(partOf(offset));
    },
    async prove() {
      await guard(sync);
      if (parts !== null || checksum === null) return;
      const whole = createHash("sha256");
      const buffer = Buffer.allocUnsafe(Math.min(PART_BYTES, sizeBytes));
      for (let part = 0; part < count; part += 1) {
        whole.update(await guard(async () => readAt(buffer.subarray(0, lengthOf(part)), startOf(part))));
      }
      if (whole.digest("hex") === checksum.toLowerCase()) return;
      for (let part = 0; part < count; part += 1) forget(part);
      throw new VerificationFailure(
        "checksum_wrong",
        "the firmware's SHA-256 is not the one the hub announced",
      );
    },
    async remove() {
      unsynced = false;
      await guard(options.remove);
    },
    async close() {
      try {
        if (unsynced) await guard(sync);
      } catch {
        // What the disk does not keep is fetched again.
      } finally {
        await file.close();
      }
    },
  };
}

/** A weak ETag, or none, does not tell whether bytes are of the same file (RFC 9110 §13.1.5). */
function isStrong(version: FileVersion | null): boolean {
  const etag = version?.etag ?? null;
  return etag !== null && !etag.startsWith("W/");
}

function lengthBeforeZeros(bytes: Uint8Array): number {
  let length = bytes.length;
  while (length > 0 && bytes[length - 1] === 0) length -= 1;
  return length;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
