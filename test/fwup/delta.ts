/** VCDIFF deltas (RFC 3284) as fwup applies them. */
import { FwupError } from "./fwup-error.ts";
import { instructionTable, type Instruction } from "./delta-instructions.ts";

/** The old content that a delta is applied to. */
export interface DeltaSource {
  /** Reads from `offset` at most `length` bytes; fewer at the end. */
  read(offset: number, length: number): Buffer;
}

/** fwup reads its source in blocks of this, and hands the result on in pieces of this. */
const PIECE_BYTES = 128 * 1024;
/** xdelta3's own limit. */
const MAX_WINDOW_BYTES = 16 * 1024 * 1024;
const MAGIC = Buffer.from([0xd6, 0xc3, 0xc4, 0x00]);
/** Bits of the header: features that are not supported here, and xdelta3's own data, which is skipped. */
const HEADER_SECONDARY_OR_TABLE = 0x03;
const HEADER_APPLICATION = 0x04;
/** Bits of a window. */
const WINDOW_SOURCE = 0x01;
const WINDOW_TARGET = 0x02;
const WINDOW_ADLER32 = 0x04;

/**
 * Decodes a VCDIFF delta (RFC 3284) as xdelta3 makes them, with the checksums of its windows.
 * A window's pieces come out before its checksum is known, as in fwup.
 * @param patch the delta; undefined at its end
 * @throws FwupError when it is broken or was made for another source
 */
export async function* applyDelta(
  patch: () => Promise<Buffer | undefined>,
  source: DeltaSource,
): AsyncGenerator<Buffer, void> {
  const bytes = new PatchBytes(patch);
  await readDeltaHeader(bytes);
  const blocks = new SourceBlocks(source);
  while (!(await bytes.atEnd())) yield* decodeWindow(await readWindow(bytes), blocks);
}

/** @throws FwupError when it is not a delta */
export async function checkDeltaHeader(patch: () => Promise<Buffer | undefined>): Promise<void> {
  await readDeltaHeader(new PatchBytes(patch));
}

async function readDeltaHeader(bytes: PatchBytes): Promise<void> {
  if (!(await bytes.take(4)).equals(MAGIC)) throw new FwupError("xdelta3 error: not a VCDIFF input");
  const indicator = await bytes.byte();
  if ((indicator & HEADER_SECONDARY_OR_TABLE) !== 0)
    throw new FwupError("xdelta3 error: unavailable secondary compressor");
  if ((indicator & HEADER_APPLICATION) !== 0) await bytes.take(await bytes.integer());
}

interface Window {
  /** The part of the source that addresses count from; length 0 without one. */
  readonly sourceOffset: number;
  readonly sourceLength: number;
  readonly targetLength: number;
  readonly adler32: number | undefined;
  readonly data: Cursor;
  readonly instructions: Cursor;
  readonly addresses: Cursor;
}

async function readWindow(bytes: PatchBytes): Promise<Window> {
  const indicator = await bytes.byte();
  if ((indicator & WINDOW_TARGET) !== 0) throw new FwupError("xdelta3 error: VCD_TARGET not implemented");
  const hasSource = (indicator & WINDOW_SOURCE) !== 0;
  const sourceLength = hasSource ? await bytes.integer() : 0;
  const sourceOffset = hasSource ? await bytes.integer() : 0;
  await bytes.integer(); // the length of what follows, which the lengths below give too
  const targetLength = await bytes.integer();
  if (targetLength > MAX_WINDOW_BYTES) throw new FwupError("xdelta3 error: hard window size exceeded");
  if ((await bytes.byte()) !== 0) throw new FwupError("xdelta3 error: unrecognized secondary compressor");
  const lengths = [await bytes.integer(), await bytes.integer(), await bytes.integer()] as const;
  const adler = (indicator & WINDOW_ADLER32) !== 0 ? (await bytes.take(4)).readUInt32BE() : undefined;
  return {
    sourceOffset,
    sourceLength,
    targetLength,
    adler32: adler,
    data: new Cursor(await bytes.take(lengths[0])),
    instructions: new Cursor(await bytes.take(lengths[1])),
    addresses: new Cursor(await bytes.take(lengths[2])),
  };
}

function* decodeWindow(window: Window, blocks: SourceBlocks): Generator<Buffer, void> {
  const target = Buffer.alloc(window.targetLength);
  const addresses = new AddressCache(window.addresses);
  let written = 0;
  let handedOn = 0;
  const pieces = function* (): Generator<Buffer, void> {
    for (; written - handedOn > PIECE_BYTES; handedOn += PIECE_BYTES)
      yield target.subarray(handedOn, handedOn + PIECE_BYTES);
  };
  const run = function* ({ type, size: fixedSize, mode }: Instruction): Generator<Buffer, void> {
    const size = fixedSize === 0 ? window.instructions.integer() : fixedSize;
    if (written + size > target.length) throw new FwupError("xdelta3 error: overflow: target");
    if (type === "run") target.fill(window.data.byte(), written, written + size);
    if (type === "add") window.data.take(size).copy(target, written);
    if (type !== "copy") {
      written += size;
      return;
    }
    let address = addresses.next(mode, window.sourceLength + written);
    for (const end = written + size; written < end;) {
      if (address >= window.sourceLength) {
        target[written] = target.readUInt8(address - window.sourceLength); // may overlap what it makes
        written++;
        address++;
        continue;
      }
      const at = window.sourceOffset + address;
      if (blocks.turnTo(at)) yield* pieces();
      const part = blocks.from(at).subarray(0, Math.min(end - written, window.sourceLength - address));
      if (part.length === 0) throw new FwupError("xdelta3 error: source file too short");
      written += part.copy(target, written);
      address += part.length;
    }
  };
  while (!window.instructions.atEnd)
    for (const instruction of INSTRUCTIONS[window.instructions.byte()] ?? []) yield* run(instruction);
  if (written !== target.length) throw new FwupError("xdelta3 error: wrong window length");
  if (window.adler32 !== undefined && adler32(target) !== window.adler32)
    throw new FwupError("xdelta3 error: target window checksum mismatch");
  if (written > handedOn) yield target.subarray(handedOn, written);
}

const INSTRUCTIONS = instructionTable();

function adler32(bytes: Buffer): number {
  let a = 1;
  let b = 0;
  for (let start = 0; start < bytes.length; start += 3800) {
    const end = Math.min(start + 3800, bytes.length); // as many as b takes in 32 bits
    for (let i = start; i < end; i++) {
      a += bytes[i] ?? 0;
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  return b * 65536 + a;
}

/** Holds one block of the source in memory. */
class SourceBlocks {
  readonly #source: DeltaSource;
  #start = 0;
  #block: Buffer;

  constructor(source: DeltaSource) {
    this.#source = source;
    this.#block = source.read(0, PIECE_BYTES);
  }

  /** Loads the block around `offset`. @returns whether another block was loaded before */
  turnTo(offset: number): boolean {
    const start = offset - (offset % PIECE_BYTES);
    if (start === this.#start) return false;
    this.#start = start;
    this.#block = this.#source.read(start, PIECE_BYTES);
    return true;
  }

  from(offset: number): Buffer {
    return this.#block.subarray(offset - this.#start);
  }
}

/** RFC 3284, 5.3: addresses are written relative to earlier ones. */
class AddressCache {
  readonly #addresses: Cursor;
  readonly #near = [0, 0, 0, 0];
  readonly #same = new Array<number>(3 * 256).fill(0);
  #slot = 0;

  constructor(addresses: Cursor) {
    this.#addresses = addresses;
  }

  next(mode: number, here: number): number {
    const address = this.#read(mode, here);
    if (address < 0 || address >= here) throw new FwupError("xdelta3 error: invalid copy address");
    this.#near[this.#slot] = address;
    this.#slot = (this.#slot + 1) % this.#near.length;
    this.#same[address % this.#same.length] = address;
    return address;
  }

  #read(mode: number, here: number): number {
    if (mode === 0) return this.#addresses.integer();
    if (mode === 1) return here - this.#addresses.integer();
    const near = this.#near[mode - 2];
    if (near !== undefined) return near + this.#addresses.integer();
    return this.#same[(mode - 2 - this.#near.length) * 256 + this.#addresses.byte()] ?? -1;
  }
}

const CONTINUES = 0x80;

/** A section of a window. */
class Cursor {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  byte(): number {
    return this.take(1).readUInt8();
  }

  integer(): number {
    for (let value = 0; ;) {
      const byte = this.byte();
      value = value * 128 + (byte & ~CONTINUES);
      if ((byte & CONTINUES) === 0) return value;
    }
  }

  take(count: number): Buffer {
    if (count > this.#bytes.length - this.#at) throw new FwupError("xdelta3 error: data underflow");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
}

/** A delta as it comes in. */
class PatchBytes {
  readonly #next: () => Promise<Buffer | undefined>;
  #pending: Buffer = Buffer.alloc(0);

  constructor(next: () => Promise<Buffer | undefined>) {
    this.#next = next;
  }

  async atEnd(): Promise<boolean> {
    if (this.#pending.length === 0) this.#pending = (await this.#next()) ?? this.#pending;
    return this.#pending.length === 0;
  }

  async byte(): Promise<number> {
    return (await this.take(1)).readUInt8();
  }

  async integer(): Promise<number> {
    for (let value = 0; ;) {
      const byte = await this.byte();
      value = value * 128 + (byte & ~CONTINUES);
      if ((byte & CONTINUES) === 0) return value;
    }
  }

  async take(count: number): Promise<Buffer> {
    if (count > 2 * MAX_WINDOW_BYTES) throw new FwupError("xdelta3 error: hard window size exceeded");
    const parts = [this.#pending];
    let size = this.#pending.length;
    while (size < count) {
      const more = await this.#next();
      if (more === undefined) throw new FwupError("xdelta3 error: further input required");
      parts.push(more);
      size += more.length;
    }
    const all = parts.length === 1 ? this.#pending : Buffer.concat(parts);
    this.#pending = all.subarray(count);
    return all.subarray(0, count);
  }
}
