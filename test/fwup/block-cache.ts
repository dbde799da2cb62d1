/**
 * fwup's write cache, copied with its order of writes: tests of power cuts depend on what reaches the disk
 * when.
 */
import { readSync, writeSync } from "node:fs";
import { messageOf } from "../../src/platform/failure.ts";
import { FwupError } from "./fwup-error.ts";

/** fwup counts offsets and sizes in these. */
export const BLOCK_BYTES = 512;
const SEGMENT_BYTES = 128 * 1024;
const BLOCKS_PER_SEGMENT = SEGMENT_BYTES / BLOCK_BYTES;
/** fwup's default of 8 MiB. */
const MAX_SEGMENTS = 64;

interface Segment {
  readonly data: Buffer;
  readonly valid: Uint8Array;
  readonly dirty: Uint8Array;
  dirtyBlocks: number;
  /** Only resources were written to it, so that it goes out as soon as it is full. */
  streamed: boolean;
}

export interface CacheOptions {
  /** The device's size in bytes, past which nothing may be written; undefined for files, which grow. */
  readonly endBytes?: number | undefined;
  /** Reads back what was written. */
  readonly verifyWrites: boolean;
}

/**
 * The cache between fwup and the device: 128 KiB segments, least recently used ones written first.
 * Resources stream through, while small writes stay until the cache is full or flushed; so they can be
 * thrown away when something goes wrong, and come last when all goes well.
 */
export class BlockCache {
  readonly #fd: number;
  readonly #options: CacheOptions;
  /** The segments by offset, in the order of their last use. */
  readonly #segments = new Map<number, Segment>();
  /** A streamed segment's failed write is reported at the next write, as by fwup's writer thread. */
  #badOffset: number | undefined;

  constructor(fd: number, options: CacheOptions) {
    this.#fd = fd;
    this.#options = options;
  }

  /** @throws FwupError when the device can't be read */
  read(offset: number, length: number): Buffer {
    const all = Buffer.alloc(length);
    for (const part of parts(offset, length)) {
      const segment = this.#segment(part.segment);
      this.#complete(part.segment, segment);
      segment.data.copy(all, part.from, part.at, part.at + part.length);
    }
    return all;
  }

  /**
   * Whole blocks.
   * @param streamed a resource's content: segments that it fills go out at once
   * @throws FwupError when the device can't be written
   */
  write(offset: number, bytes: Buffer, streamed: boolean): void {
    for (const part of parts(offset, bytes.length)) {
      const segment = this.#segment(part.segment);
      bytes.copy(segment.data, part.at, part.from, part.from + part.length);
      const first = part.at / BLOCK_BYTES;
      for (let block = first; block < first + part.length / BLOCK_BYTES; block++) {
        if (segment.dirty[block] === 0) segment.dirtyBlocks++;
        segment.dirty[block] = 1;
        segment.valid[block] = 1;
      }
      if (!streamed) segment.streamed = false;
      else if (segment.streamed && segment.dirtyBlocks === BLOCKS_PER_SEGMENT)
        this.#stream(part.segment, segment);
    }
  }

  /** Writes all that is left, least recently used first; does not sync, as fwup doesn't. */
  flush(): void {
    for (const [offset, segment] of this.#segments) this.#flushSegment(offset, segment);
  }

  /** Throws away what has not been written. */
  reset(): void {
    this.#segments.clear();
    this.#badOffset = undefined;
  }

  #segment(offset: number): Segment {
    let segment = this.#segments.get(offset);
    if (segment !== undefined) this.#segments.delete(offset);
    else segment = this.#evictIfFull() ?? newSegment();
    this.#segments.set(offset, segment);
    return segment;
  }

  /** @returns the segment that had to go, emptied for its next use */
  #evictIfFull(): Segment | undefined {
    const [oldest] = this.#segments;
    if (oldest === undefined || this.#segments.size < MAX_SEGMENTS) return undefined;
    const [offset, segment] = oldest;
    this.#flushSegment(offset, segment);
    this.#segments.delete(offset);
    segment.valid.fill(0);
    segment.streamed = true;
    return segment;
  }

  #flushSegment(offset: number, segment: Segment): void {
    if (segment.dirtyBlocks === 0) return;
    try {
      this.#complete(offset, segment);
      this.#checkEarlierWrite();
      this.#writeOut(offset, segment);
    } finally {
      clean(segment); // also when it failed: fwup doesn't try again
    }
  }

  #stream(offset: number, segment: Segment): void {
    this.#checkEarlierWrite();
    try {
      this.#writeOut(offset, segment);
    } catch {
      this.#badOffset = offset; // reported at the next write, in other words
    }
    clean(segment);
  }

  #checkEarlierWrite(): void {
    if (this.#badOffset !== undefined)
      throw new FwupError(`write failed at offset ${this.#badOffset}. Check media size.`);
  }

  #writeOut(offset: number, segment: Segment): void {
    const count = this.#sizeAt(offset);
    const failed = (cause?: unknown): FwupError =>
      new FwupError(`writing ${count} bytes failed at offset ${offset}. Check media size.`, { cause });
    let written: number;
    try {
      written = writeSync(this.#fd, segment.data, 0, count, offset);
    } catch (error) {
      throw failed(error);
    }
    if (written !== count) throw failed();
    if (!this.#options.verifyWrites) return;
    const back = Buffer.alloc(count);
    if (readSync(this.#fd, back, 0, count, offset) !== count)
      throw new FwupError(`read back failed at offset ${offset}`);
    if (!back.equals(segment.data.subarray(0, count)))
      throw new FwupError(`write verification failed at offset ${offset}`);
  }

  /** Reads the blocks that are not cached yet; past the end they are zeros. */
  #complete(offset: number, segment: Segment): void {
    if (!segment.valid.includes(0)) return;
    const onDevice = Buffer.alloc(SEGMENT_BYTES);
    try {
      readSync(this.#fd, onDevice, 0, this.#sizeAt(offset), offset);
    } catch (error) {
      throw new FwupError(
        `unexpected error reading ${SEGMENT_BYTES} bytes at offset ${offset}: ${messageOf(error)}.`,
        { cause: error },
      );
    }
    for (let block = 0; block < BLOCKS_PER_SEGMENT; block++)
      if (segment.valid[block] === 0)
        onDevice.copy(segment.data, block * BLOCK_BYTES, block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
    segment.valid.fill(1);
  }

  #sizeAt(offset: number): number {
    const { endBytes } = this.#options;
    if (endBytes === undefined || offset + SEGMENT_BYTES <= endBytes) return SEGMENT_BYTES;
    if (offset <= endBytes) return endBytes - offset;
    throw new FwupError(`read/write failed at offset ${offset} since past end of media (${endBytes}).`);
  }
}

function newSegment(): Segment {
  return {
    data: Buffer.alloc(SEGMENT_BYTES),
    valid: new Uint8Array(BLOCKS_PER_SEGMENT),
    dirty: new Uint8Array(BLOCKS_PER_SEGMENT),
    dirtyBlocks: 0,
    streamed: true,
  };
}

function clean(segment: Segment): void {
  segment.dirty.fill(0);
  segment.dirtyBlocks = 0;
}

/** A range cut at segment boundaries: `at` within the segment, `from` within the range. */
function* parts(
  offset: number,
  length: number,
): Generator<{ segment: number; at: number; from: number; length: number }> {
  for (let from = 0; from < length;) {
    const at = (offset + from) % SEGMENT_BYTES;
    const partLength = Math.min(length - from, SEGMENT_BYTES - at);
    yield { segment: offset + from - at, at, from, length: partLength };
    from += partLength;
  }
}
