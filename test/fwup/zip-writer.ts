/** Writes ZIP archives as fwup does, so that the tests' archives equal those of fwup. */
import { Readable } from "node:stream";
import { crc32, createDeflateRaw } from "node:zlib";

/** A file for an archive; its content may be asked for more than once. */
export interface ZipContent {
  readonly name: string;
  readonly sizeBytes: number;
  readonly pieces: () => Iterable<Buffer>;
  /** The time of its last change; fwup takes that of the meta.conf as the firmware's creation date. */
  readonly modified?: Date;
}

export type Compression = "stored" | "deflated";

const FLAG_SIZES_AFTER_DATA = 8;
const VERSION = 20;
/** 1980-01-01, the first day of DOS. */
const DOS_DATE = 0x21;

/**
 * An archive piece by piece. Deflated files have their sizes after their data, as fwup's own archives do;
 * stored ones before it.
 */
export async function* zipArchive(
  files: readonly (ZipContent & { readonly compression: Compression })[],
): AsyncGenerator<Buffer, void> {
  const directory: Buffer[] = [];
  let offset = 0;
  for (const file of files) {
    const entryOffset = offset;
    const entry = { ...file, crc: 0, compressedBytes: 0 };
    const deflated = file.compression === "deflated";
    if (!deflated) {
      entry.compressedBytes = file.sizeBytes;
      for (const piece of file.pieces()) entry.crc = crc32(piece, entry.crc);
    }
    const header = Buffer.concat([
      Buffer.from("PK\x03\x04", "latin1"),
      entryFields(entry),
      ...nameAndExtra(entry),
    ]);
    yield header;
    offset += header.length;
    for await (const piece of deflated ? deflate(entry) : file.pieces()) {
      yield piece;
      offset += piece.length;
    }
    if (deflated) {
      const descriptor = Buffer.from("PK\x07\x08            ", "latin1");
      writeSizes(descriptor, 4, entry);
      yield descriptor;
      offset += descriptor.length;
    }
    directory.push(directoryEntry(entry, entryOffset));
  }
  yield Buffer.concat([...directory, directoryEnd(directory, offset)]);
}

interface Entry extends ZipContent {
  readonly compression: Compression;
  crc: number;
  compressedBytes: number;
}

async function* deflate(entry: Entry): AsyncGenerator<Buffer, void> {
  const content = function* (): Generator<Buffer, void> {
    for (const piece of entry.pieces()) {
      entry.crc = crc32(piece, entry.crc);
      yield piece;
    }
  };
  const compressor = Readable.from(content(), { objectMode: false }).pipe(createDeflateRaw({ level: 1 }));
  for await (const piece of compressor as AsyncIterable<Buffer>) {
    entry.compressedBytes += piece.length;
    yield piece;
  }
}

/** The fields that the local header and the central directory share. */
function entryFields(entry: Entry): Buffer {
  const deflated = entry.compression === "deflated";
  const fields = Buffer.alloc(26);
  fields.writeUInt16LE(VERSION, 0);
  fields.writeUInt16LE(deflated ? FLAG_SIZES_AFTER_DATA : 0, 2);
  fields.writeUInt16LE(deflated ? 8 : 0, 4);
  fields.writeUInt16LE(DOS_DATE, 8);
  writeSizes(fields, 10, entry);
  const [name, extra] = nameAndExtra(entry);
  fields.writeUInt16LE(name.length, 22);
  fields.writeUInt16LE(extra.length, 24);
  return fields;
}

function writeSizes(into: Buffer, at: number, entry: Entry): void {
  into.writeUInt32LE(entry.crc, at);
  into.writeUInt32LE(entry.compressedBytes, at + 4);
  into.writeUInt32LE(entry.sizeBytes, at + 8);
}

/** The extra field has the extended timestamp: in UTC, unlike DOS's. */
function nameAndExtra({ name, modified }: Entry): [Buffer, Buffer] {
  if (modified === undefined) return [Buffer.from(name), Buffer.alloc(0)];
  const extra = Buffer.from("UT\x05\0\x01    ", "latin1");
  extra.writeUInt32LE(Math.floor(modified.getTime() / 1000), 5);
  return [Buffer.from(name), extra];
}

function directoryEntry(entry: Entry, offset: number): Buffer {
  const made = Buffer.alloc(2);
  made.writeUInt16LE((3 << 8) | VERSION); // Unix, whose permissions follow
  const rest = Buffer.alloc(14);
  rest.writeUInt32LE(0o100644 * 0x10000, 6);
  rest.writeUInt32LE(offset, 10);
  return Buffer.concat([
    Buffer.from("PK\x01\x02", "latin1"),
    made,
    entryFields(entry),
    rest,
    ...nameAndExtra(entry),
  ]);
}

function directoryEnd(directory: readonly Buffer[], offset: number): Buffer {
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt16LE(directory.length, 8);
  end.writeUInt16LE(directory.length, 10);
  end.writeUInt32LE(
    directory.reduce((sum, { length }) => sum + length, 0),
    12,
  );
  end.writeUInt32LE(offset, 16);
  return end;
}
