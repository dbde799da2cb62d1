/**
 * Whether bytes can be a firmware archive at all: a ZIP archive that begins and ends as one. fwup's own words about an
 * empty, foreign or cut file are the same, and say neither which file it was nor what to do.
 */
import type { FileHandle } from "node:fs/promises";
import { fileFailure } from "../platform/failure.ts";
import { openRegularFile } from "../platform/files.ts";

/** The first entry of a ZIP archive begins so. */
const BEGIN = Buffer.from("PK\u0003\u0004", "latin1");
/** The record at the end of its directory begins so. */
const END = Buffer.from("PK\u0005\u0006", "latin1");
/** The record is looked for in this much of a file's end: padding may follow it. */
const TAIL_BYTES = 1024 * 1024;

const EMPTY = "is empty";
const FOREIGN = "is not a .fw file, which is a ZIP archive that fwup makes";
const CUT = "is cut short: the end of the archive is missing; copy or send it once more";

/** Watches an archive on its way. */
export class ArchiveShape {
  #head = Buffer.alloc(0);
  /** The last bytes of the chunk before: {@link END} may begin there. */
  #last = Buffer.alloc(0);
  #hasEnd = false;
  #isWhole = false;

  /** Gives the chunks of `source` as they are. */
  async *watch(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of source) {
      this.#note(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
      yield chunk;
    }
    this.#isWhole = true;
  }

  /** Why this is no whole archive, as far as that shows; undefined when nothing is wrong with its shape. */
  get flaw(): string | undefined {
    if (!this.#isWhole && this.#head.length < BEGIN.length) return undefined;
    if (this.#head.length === 0) return EMPTY;
    if (!this.#head.equals(BEGIN)) return FOREIGN;
    return this.#isWhole && !this.#hasEnd ? CUT : undefined;
  }

  #note(chunk: Buffer): void {
    if (this.#head.length < BEGIN.length)
      this.#head = Buffer.concat([this.#head, chunk.subarray(0, BEGIN.length - this.#head.length)]);
    const seam = Buffer.concat([this.#last, chunk.subarray(0, END.length - 1)]);
    this.#hasEnd ||= seam.includes(END) || chunk.includes(END);
    this.#last = Buffer.concat([this.#last, chunk.subarray(1 - END.length)]).subarray(1 - END.length);
  }
}

/**
 * Why an open file is no whole archive, by its first and last bytes; undefined when nothing is wrong with its shape.
 * @throws the file system's error
 */
export async function flawOf(file: FileHandle): Promise<string | undefined> {
  const { size } = await file.stat();
  const head = await file.read(Buffer.alloc(BEGIN.length), 0, BEGIN.length, 0);
  if (head.bytesRead === 0) return EMPTY;
  if (!head.buffer.equals(BEGIN)) return FOREIGN;
  const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
  await file.read(tail, 0, tail.length, size - tail.length);
  return tail.includes(END) ? undefined : CUT;
}

/** The same of a file at a path. @throws Failure when it can't be read */
export async function flawOfFile(path: string): Promise<string | undefined> {
  const file = await openRegularFile("firmware", path);
  try {
    return await flawOf(file);
  } catch (error) {
    throw fileFailure("firmware", path, error);
  } finally {
    await file.close();
  }
}
