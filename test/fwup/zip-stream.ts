/**
 * Reads a ZIP archive from front to back, as libarchive does for fwup: tests depend on which bytes a damaged
 * archive loses, and on the messages.
 */
import { once } from "node:events";
import { crc32, createInflateRaw, type InflateRaw } from "node:zlib";
import { systemCode } from "../../src/platform/failure.ts";
import { FwupError } from "./fwup-error.ts";
import type { Input } from "./input.ts";
import { Lookahead } from "./lookahead.ts";

/** Bit 3 of the flags: CRC and sizes follow the data, in a data descriptor. */
const FLAG_SIZES_AFTER_DATA = 8;
const STORED = 0;
const DEFLATED = 8;
const LOCAL_HEADER = Buffer.from("PK\x03\x04", "latin1");
const DATA_DESCRIPTOR = Buffer.from("PK\x07\x08", "latin1");
/** Signatures that may begin an archive: libarchive's list. */
const BEGINNINGS = ["\x01\x02", "\x03\x04", "\x05\x06", "\x06\x06", "\x07\x08", "00"].map(
  (end) => `PK${end}`,
);
/** Signatures that end the entries: central directory, its end, the 64-bit one. */
const ENDINGS = ["\x01\x02", "\x05\x06", "\x06\x06"].map((end) => `PK${end}`);
/** libarchive looks this far ahead for a descriptor; what follows one is always longer. */
const DESCRIPTOR_AHEAD_BYTES = 24;
const INFLATE_OUTPUT_BYTES = 256 * 1024;

/** A zip archive read from front to back, as libarchive does it, down to its words and its losses. */
export class ZipStream {
  readonly #bytes: Lookahead;
  #entry: ZipEntry | undefined;

  private constructor(bytes: Lookahead) {
    this.#bytes = bytes;
  }

  /** @throws FwupError when it is not a ZIP archive, or the input breaks off at once */
  static async open(input: Input): Promise<ZipStream> {
    const bytes = new Lookahead(input);
    await bytes.some();
    const beginning = await bytes.atLeast(4);
    if (beginning === undefined || !BEGINNINGS.includes(beginning.toString("latin1", 0, 4)))
      throw new FwupError("Unrecognized archive format");
    return new ZipStream(bytes);
  }

  /**
   * Skips the rest of this entry and goes on to the next one; undefined at the central directory, which
   * is not read.
   * @throws FwupError when the archive is broken
   */
  async next(): Promise<ZipEntry | undefined> {
    await this.#entry?.skip();
    this.#entry = undefined;
    for (;;) {
      const bytes = await this.#bytes.atLeast(4);
      if (bytes === undefined) throw new FwupError("Truncated ZIP file header");
      const signature = bytes.toString("latin1", 0, 4);
      if (ENDINGS.includes(signature)) return undefined;
      if (bytes.subarray(0, 4).equals(LOCAL_HEADER)) break;
      this.#bytes.consume(1);
    }
    this.#entry = await readHeader(this.#bytes);
    return this.#entry;
  }
}

async function readHeader(bytes: Lookahead): Promise<ZipEntry> {
  const truncated = (): never => {
    throw new FwupError("Truncated ZIP file header");
  };
  let header = (await bytes.atLeast(30)) ?? truncated();
  const nameBytes = header.readUInt16LE(26);
  const extraBytes = header.readUInt16LE(28);
  header = (await bytes.atLeast(30 + nameBytes + extraBytes)) ?? truncated();
  const flags = header.readUInt16LE(6);
  const entry = new ZipEntry(bytes, {
    name: header.toString("utf8", 30, 30 + nameBytes),
    method: header.readUInt16LE(8),
    sizesAfterData: (flags & FLAG_SIZES_AFTER_DATA) !== 0,
    modified: modifiedTime(header, header.subarray(30 + nameBytes, 30 + nameBytes + extraBytes)),
    crc: header.readUInt32LE(14),
    compressedBytes: header.readUInt32LE(18),
    sizeBytes: header.readUInt32LE(22),
  });
  bytes.consume(30 + nameBytes + extraBytes);
  if ((flags & 1) !== 0) throw new FwupError("Encrypted ZIP entries aren't supported");
  return entry;
}

/** The extended timestamp (`UT`, UTC) if there is one, else the DOS time, which is local. */
function modifiedTime(header: Buffer, extra: Buffer): Date {
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2))
    if (
      extra.toString("latin1", at, at + 2) === "UT" &&
      at + 9 <= extra.length &&
      (extra.readUInt8(at + 4) & 1) !== 0
    )
      return new Date(extra.readInt32LE(at + 5) * 1000);
  const time = header.readUInt16LE(10);
  const date = header.readUInt16LE(12);
  return new Date(
    (date >> 9) + 1980,
    ((date >> 5) & 15) - 1,
    date & 31,
    time >> 11,
    (time >> 5) & 63,
    (time & 31) * 2,
  );
}

interface EntryHeader {
  readonly name: string;
  readonly method: number;
  readonly sizesAfterData: boolean;
  readonly modified: Date;
  crc: number;
  compressedBytes: number;
  sizeBytes: number;
}

/** A piece of an entry's content, perhaps empty; `last` when the entry ends with it. */
interface Part {
  readonly piece: Buffer;
  readonly last: boolean;
}

/** One file of an archive; its content can be read once. */
export class ZipEntry {
  readonly #bytes: Lookahead;
  readonly #header: EntryHeader;
  readonly #compressedBytesGiven: number;
  #inflater: Inflater | undefined;
  #compressedRead = 0;
  #read = 0;
  #crc = 0;
  #ended = false;

  constructor(bytes: Lookahead, header: EntryHeader) {
    this.#bytes = bytes;
    this.#header = header;
    this.#compressedBytesGiven = header.compressedBytes;
  }

  get name(): string {
    return this.#header.name;
  }

  get modified(): Date {
    return this.#header.modified;
  }

  /** The size that the header gives; undefined when it is to follow the data. */
  get sizeBytes(): number | undefined {
    return this.#header.sizesAfterData && this.#header.sizeBytes === 0 ? undefined : this.#header.sizeBytes;
  }

  /**
   * The next piece of the content; undefined at its end.
   * @throws FwupError when the input ends early or a checksum is wrong; the last piece is lost with it
   */
  async read(): Promise<Buffer | undefined> {
    while (!this.#ended) {
      const { piece, last } = await this.#readSome();
      this.#crc = crc32(piece, this.#crc);
      this.#read += piece.length;
      if (last) this.#check();
      if (piece.length > 0) return piece;
    }
    return undefined;
  }

  /** The content up to `maxBytes`; nothing when any of it can't be read, as in fwup. */
  async readAll(maxBytes: number): Promise<Buffer> {
    const limit = Math.min(this.sizeBytes ?? maxBytes, maxBytes);
    const pieces: Buffer[] = [];
    try {
      for (let size = 0; size < limit;) {
        const piece = await this.read();
        if (piece === undefined) break;
        pieces.push(piece);
        size += piece.length;
      }
    } catch {
      return EMPTY; // its size tells the caller
    }
    return Buffer.concat(pieces).subarray(0, limit);
  }

  /** Skips the rest of the content without a check. */
  async skip(): Promise<void> {
    if (this.#compressedBytesGiven === 0 && this.#header.sizesAfterData) {
      while (!this.#ended) await this.#readSome();
      return;
    }
    while (!this.#ended && this.#compressedRead < this.#compressedBytesGiven) {
      const bytes = await this.#bytes.some();
      if (bytes.length === 0) throw new FwupError("Truncated ZIP file body");
      this.#consume(Math.min(bytes.length, this.#compressedBytesGiven - this.#compressedRead));
    }
    this.#ended = true;
  }

  async #readSome(): Promise<Part> {
    const part = await this.#readPart();
    this.#ended = part.last;
    return part;
  }

  async #readPart(): Promise<Part> {
    const { method, sizesAfterData } = this.#header;
    if (method === DEFLATED) return this.#readDeflated();
    if (method !== STORED) throw new FwupError(`Unsupported ZIP compression method (${method})`);
    return sizesAfterData ? this.#readStoredToDescriptor() : this.#readStored();
  }

  async #readStored(): Promise<Part> {
    const left = this.#header.compressedBytes - this.#compressedRead;
    if (left === 0) return { piece: EMPTY, last: true };
    const bytes = await this.#someOr("Truncated ZIP file data");
    if (bytes.length === 0) throw new FwupError("Truncated ZIP file data");
    const piece = bytes.subarray(0, left);
    this.#consume(piece.length);
    return { piece, last: false };
  }

  /** Stored data of unknown length ends at a descriptor whose CRC is right. */
  async #readStoredToDescriptor(): Promise<Part> {
    const bytes = await this.#bytes.atLeast(DESCRIPTOR_AHEAD_BYTES);
    if (bytes === undefined) throw new FwupError("Truncated ZIP file data");
    if (bytes.subarray(0, 4).equals(DATA_DESCRIPTOR) && bytes.readUInt32LE(4) === this.#crc) {
      await this.#readDescriptor();
      return { piece: EMPTY, last: true };
    }
    const next = bytes.indexOf(DATA_DESCRIPTOR, 1);
    const piece = bytes.subarray(0, next > 0 ? next : bytes.length - 3);
    this.#consume(piece.length);
    return { piece, last: false };
  }

  async #readDeflated(): Promise<Part> {
    this.#inflater ??= new Inflater();
    const { compressedBytes, sizesAfterData } = this.#header;
    const bytes = await this.#someOr("Truncated ZIP file body");
    const left = sizesAfterData ? bytes.length : compressedBytes - this.#compressedRead;
    const { output, consumed, ended } = await this.#inflater.inflate(bytes.subarray(0, left));
    this.#consume(consumed);
    if (ended && sizesAfterData) await this.#readDescriptor();
    return { piece: output, last: ended };
  }

  async #readDescriptor(): Promise<void> {
    let bytes = await this.#bytes.atLeast(DESCRIPTOR_AHEAD_BYTES);
    if (bytes === undefined) throw new FwupError("Truncated ZIP end-of-file record");
    if (bytes.subarray(0, 4).equals(DATA_DESCRIPTOR)) {
      this.#bytes.consume(4);
      bytes = bytes.subarray(4);
    }
    this.#header.crc = bytes.readUInt32LE(0);
    this.#header.compressedBytes = bytes.readUInt32LE(4);
    this.#header.sizeBytes = bytes.readUInt32LE(8);
    this.#bytes.consume(12);
  }

  #check(): void {
    const { crc, compressedBytes, sizeBytes } = this.#header;
    if (this.#crc !== crc)
      throw new FwupError(`ZIP bad CRC: 0x${this.#crc.toString(16)} should be 0x${crc.toString(16)}`);
    const wrong = (what: string, read: number, expected: number): FwupError =>
      new FwupError(`ZIP ${what} data is wrong size (read ${read}, expected ${expected})`);
    if (this.#compressedRead !== compressedBytes)
      throw wrong("compressed", this.#compressedRead, compressedBytes);
    if (this.#read !== sizeBytes) throw wrong("uncompressed", this.#read, sizeBytes);
  }

  async #someOr(broken: string): Promise<Buffer> {
    return this.#bytes.some().catch((error: unknown) => {
      throw new FwupError(broken, { cause: error });
    });
  }

  #consume(count: number): void {
    this.#bytes.consume(count);
    this.#compressedRead += count;
  }
}

const EMPTY = Buffer.alloc(0);

/** Inflates a stream piece by piece, and finds where in a piece it ended. */
class Inflater {
  readonly #stream: InflateRaw = createInflateRaw({ chunkSize: INFLATE_OUTPUT_BYTES });
  #output: Buffer[] = [];

  constructor() {
    this.#stream.on("data", (output: Buffer) => this.#output.push(output));
    this.#stream.on("error", () => undefined); // each piece's own write reports it
  }

  /** @param input undefined at the end of the input */
  async inflate(input: Buffer): Promise<{ output: Buffer; consumed: number; ended: boolean }> {
    const before = this.#stream.bytesWritten;
    this.#output = [];
    try {
      if (input.length > 0) await this.#write(input);
      else {
        const end = once(this.#stream, "end");
        this.#stream.end();
        await end;
      }
    } catch (error) {
      throw new FwupError(`ZIP decompression failed (${systemCode(error) === "Z_BUF_ERROR" ? -5 : -3})`, {
        cause: error,
      });
    }
    const consumed = this.#stream.bytesWritten - before;
    return {
      output: Buffer.concat(this.#output),
      consumed,
      ended: input.length === 0 || consumed < input.length, // it takes all that it has use for
    };
  }

  async #write(input: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#stream.write(input, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(error);
      });
    });
  }
}
