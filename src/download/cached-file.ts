/**
 * A firmware file on the disk while it is fetched. It remembers which bytes of each part are there, and
 * after a restart believes only what it can prove: where parts are announced, by their checksums; else the
 * first bytes that were flushed, of a file that has a checksum as a whole, or else a strong ETag. The size of a
 * file on the disk proves nothing: a power cut can leave zeros where bytes should be.
 */
import { createHash, type Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import type { Clock } from "../platform/clock.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import { Coverage, partOf, startOf, type Stretch } from "./coverage.ts";
import type { FileVersion } from "./http-file.ts";
import { LineFault } from "./retries.ts";
import {
  type CacheableFile,
  type CachePaths,
  type KeptState,
  removeCached,
  writeSidecar,
} from "./sidecar.ts";
import { PART_BYTES, provesItself, sha256, wrongChecksum, wrongPart } from "./verify.ts";

/** The fault of a connection whose bytes can't be joined to those that are there. */
export const CHANGED = "the file on the server has changed; what is not proven is fetched anew";

/** Bytes are flushed this often: a power cut costs no more than this time on the line. */
const SYNC_MS = 5000;

/** Turns the disk's errors into failures `cache_failed` that name the folder. */
export async function onDisk<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    const text = `${folder} can't keep the download: ${messageOf(error)}`;
    throw new Failure("cache_failed", text, { cause: error });
  }
}

/** Opens a cached file with what an earlier download left there. @throws the file system's error */
export async function openCachedFile(options: CachedFileOptions, kept: KeptState): Promise<CachedFile> {
  const file = new CachedFile(options, kept.version);
  await file.takeStock(kept.syncedBytes);
  return file;
}

export interface CachedFileOptions {
  readonly expected: CacheableFile;
  readonly paths: CachePaths;
  readonly file: FileHandle;
  readonly clock: Clock;
}

export class CachedFile {
  readonly expected: CacheableFile;
  readonly #paths: CachePaths;
  readonly #file: FileHandle;
  readonly #clock: Clock;
  /** The bytes on the disk, proven or not. */
  readonly #there: Coverage;
  /** Hashes of incomplete parts, over the bytes that are there. */
  readonly #hashes = new Map<number, Hash>();
  #version: FileVersion | null;
  #syncedMs: number;
  #unsynced = false;

  constructor({ expected, paths, file, clock }: CachedFileOptions, version: FileVersion | null) {
    this.expected = expected;
    this.#paths = paths;
    this.#file = file;
    this.#clock = clock;
    this.#there = new Coverage(expected.sizeBytes);
    this.#version = version;
    this.#syncedMs = clock.monotonic();
  }

  /** Where the file is; it gets another name once it is complete. */
  get path(): string {
    return this.#paths.data;
  }

  /** How many bytes are there, proven or not. */
  get bytes(): number {
    return this.#there.bytes;
  }

  /** The version of the file on the server that unproven bytes come from; null when it is not known. */
  get version(): FileVersion | null {
    return this.#version;
  }

  /**
   * Finds out which bytes on the disk can be relied on.
   * @param syncedBytes how many bytes from the start were flushed when the sidecar was written
   * @throws the file system's error
   */
  async takeStock(syncedBytes: number): Promise<void> {
    const { parts, sizeBytes } = this.expected;
    const sameFile = provesItself(this.expected) || isStrong(this.#version);
    const buffer = Buffer.allocUnsafe(Math.min(PART_BYTES, sizeBytes));
    for (let part = 0; part < this.#there.count; part += 1) {
      const length = this.#there.lengthOf(part);
      if (parts === null) {
        // The file is proven as a whole, so it must be without a gap up to the byte that comes next.
        const synced = sameFile ? Math.min(length, Math.max(0, syncedBytes - startOf(part))) : 0;
        const there = await this.#readAt(buffer.subarray(0, synced), startOf(part));
        this.#there.set(part, there.length);
        if (there.length < length) return;
        continue;
      }
      const bytes = await this.#readAt(buffer.subarray(0, length), startOf(part));
      if (bytes.length === 0) continue;
      if (bytes.length === length && sha256(bytes) === parts[part]?.toLowerCase()) {
        this.#there.set(part, length);
      } else if (sameFile) {
        // A hole reads as zeros. If this guess is wrong, so is the part's checksum, and it is fetched again.
        const guess = lengthBeforeZeros(bytes);
        this.#there.set(part, guess < length ? guess : 0);
      }
    }
  }

  /** The first stretch within `within` that is missing. */
  gap(within: Stretch): Stretch | undefined {
    return this.#there.gap(within);
  }

  /** Whether bytes before `offset` in its part are there and not proven yet. */
  isUnproven(offset: number): boolean {
    return this.expected.parts === null ? offset > 0 : offset % PART_BYTES > 0;
  }

  /** Notes which version of the file the bytes to come are from. @throws Failure `cache_failed` */
  async adopt(version: FileVersion): Promise<void> {
    if (this.#version !== null) return;
    this.#version = version;
    const syncedBytes = this.expected.parts === null ? this.#there.firstBytes : 0;
    await this.#onDisk(async () => this.#keep(syncedBytes));
  }

  /**
   * Writes bytes at the start of a gap.
   * @throws VerificationFailure `part_wrong` when they complete a part that is wrong, which is missing then;
   *   LineFault when the bytes before them have been forgotten; Failure `cache_failed`
   */
  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#onDisk(async () => {
      for (let written = 0; written < bytes.length;) {
        const at = offset + written;
        const part = partOf(at);
        if (at !== this.#there.endOf(part)) throw new LineFault(CHANGED);
        const piece = bytes.subarray(written, written + startOf(part + 1) - at);
        await this.#writeInPart(part, at, piece);
        written += piece.length;
      }
    });
  }

  /** Up to `maxBytes` bytes from `offset` on; none where they are missing. @throws Failure `cache_failed` */
  async read(offset: number, maxBytes: number): Promise<Uint8Array> {
    const part = partOf(offset);
    const there = this.#there.endOf(part) - offset;
    if (part >= this.#there.count || there <= 0) return new Uint8Array();
    if (this.expected.parts !== null && !this.#there.isComplete(part)) return new Uint8Array();
    const buffer = Buffer.allocUnsafe(Math.min(maxBytes, there));
    return await this.#onDisk(async () => this.#readAt(buffer, offset));
  }

  /** Forgets what is not proven, since the file on the server has changed. */
  forgetUnproven(): void {
    this.#version = null;
    for (let part = 0; part < this.#there.count; part += 1) {
      if (this.expected.parts === null || !this.#there.isComplete(part)) this.#forget(part);
    }
  }

  /** Forgets the part that `offset` is in, since the disk no longer has its bytes. */
  forgetPart(offset: number): void {
    this.#forget(partOf(offset));
  }

  /**
   * Proves the complete file where parts are not announced, and flushes it.
   * @throws VerificationFailure `checksum_wrong`, and then all of it is missing; Failure `cache_failed`
   */
  async prove(): Promise<void> {
    const { parts, checksum, sizeBytes } = this.expected;
    await this.#onDisk(async () => this.#sync());
    if (parts !== null || checksum === null) return;
    const whole = createHash("sha256");
    const buffer = Buffer.allocUnsafe(Math.min(PART_BYTES, sizeBytes));
    for (let part = 0; part < this.#there.count; part += 1) {
      const bytes = buffer.subarray(0, this.#there.lengthOf(part));
      whole.update(await this.#onDisk(async () => this.#readAt(bytes, startOf(part))));
    }
    if (whole.digest("hex") === checksum.toLowerCase()) return;
    for (let part = 0; part < this.#there.count; part += 1) this.#forget(part);
    throw wrongChecksum();
  }

  /** Removes it from the disk. @throws Failure `cache_failed` */
  async remove(): Promise<void> {
    this.#unsynced = false;
    await this.#onDisk(async () => removeCached(this.#paths));
  }

  /** Closes it; what is there is kept for the next download. */
  async close(): Promise<void> {
    try {
      if (this.#unsynced) await this.#onDisk(async () => this.#sync());
    } catch {
      // Bytes that the disk does not keep are fetched again.
    } finally {
      await this.#file.close();
    }
  }

  async #writeInPart(part: number, offset: number, bytes: Uint8Array): Promise<void> {
    const { parts } = this.expected;
    const hash = parts === null ? undefined : await this.#hashOf(part);
    for (let written = 0; written < bytes.length;) {
      const result = await this.#file.write(bytes, written, bytes.length - written, offset + written);
      written += result.bytesWritten;
    }
    this.#unsynced = true;
    hash?.update(bytes);
    this.#there.set(part, this.#there.has(part) + bytes.length);
    if (hash !== undefined && this.#there.isComplete(part)) {
      this.#hashes.delete(part);
      if (hash.digest("hex") !== parts?.[part]?.toLowerCase()) {
        this.#forget(part);
        throw wrongPart(part, this.#there.count);
      }
    }
    if (this.#clock.monotonic() - this.#syncedMs >= SYNC_MS) await this.#sync();
  }

  /** The hash over the bytes of a part that are there. */
  async #hashOf(part: number): Promise<Hash> {
    let hash = this.#hashes.get(part);
    if (hash === undefined) {
      const buffer = Buffer.allocUnsafe(this.#there.has(part));
      hash = createHash("sha256").update(await this.#readAt(buffer, startOf(part)));
      this.#hashes.set(part, hash);
    }
    return hash;
  }

  async #sync(): Promise<void> {
    this.#syncedMs = this.#clock.monotonic();
    this.#unsynced = false;
    const syncedBytes = this.#there.firstBytes; // before the flush, during which more may come
    await this.#file.datasync();
    if (this.expected.parts === null) await this.#keep(syncedBytes);
  }

  async #keep(syncedBytes: number): Promise<void> {
    await writeSidecar(this.#paths.sidecar, this.expected, { version: this.#version, syncedBytes });
  }

  async #readAt(buffer: Buffer, position: number): Promise<Buffer> {
    let filled = 0;
    while (filled < buffer.length) {
      const left = buffer.length - filled;
      const { bytesRead } = await this.#file.read(buffer, filled, left, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  }

  #forget(part: number): void {
    this.#there.set(part, 0);
    this.#hashes.delete(part);
  }

  async #onDisk<T>(work: () => Promise<T>): Promise<T> {
    return await onDisk(dirname(this.#paths.data), work);
  }
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
