/** The archive as fwup reads it: from a file, from standard input, or in frames. */
import { openSync, readSync } from "node:fs";
import { FwupError } from "./fwup-error.ts";

/** fwup gives libarchive pieces of at most this size; the size decides how many bytes an error loses. */
const PIECE_BYTES = 16 * 1024;

/** The source of an archive. */
export interface Input {
  /**
   * The next piece, at most 16 KiB; empty at the end.
   * @throws FwupError when the input breaks off
   */
  read(): Promise<Buffer>;
}

/** An archive in a file. */
export function fileInput(path: string): Input {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw new FwupError(`Failed to open '${path}'`, { cause: error });
  }
  return {
    read: async () => {
      const piece = Buffer.allocUnsafe(PIECE_BYTES);
      return Promise.resolve(piece.subarray(0, readSync(fd, piece)));
    },
  };
}

/** An archive on standard input, without frames. */
export function plainInput(bytes: StandardInput): Input {
  return { read: async () => bytes.some(PIECE_BYTES) };
}

/** An archive on standard input, cut into frames (`len:u32be | payload`); a frame of length 0 ends it. */
export function framedInput(bytes: StandardInput): Input {
  let frameRest = 0;
  let ended = false;
  return {
    async read() {
      if (ended) return EMPTY;
      if (frameRest === 0) {
        const header = await bytes.exactly(4);
        if (header.length < 4) throw new FwupError("Error reading stdin");
        frameRest = header.readUInt32BE();
        ended = frameRest === 0;
        if (ended) return EMPTY;
      }
      const piece = await bytes.exactly(Math.min(frameRest, PIECE_BYTES));
      if (piece.length === 0) throw new FwupError("Received EOF even though framing indicated more bytes");
      frameRest -= piece.length;
      return piece;
    },
  };
}

const EMPTY = Buffer.alloc(0);

/** Standard input as bytes; a read waits while it stays open. */
export class StandardInput {
  readonly #chunks: AsyncIterator<Buffer, undefined>;
  #pending: Buffer = EMPTY;

  constructor(stream: AsyncIterable<Buffer>) {
    this.#chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer, undefined>;
  }

  /** Waits for bytes and returns at most `max` of them; empty at the end. */
  async some(max: number): Promise<Buffer> {
    while (this.#pending.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return EMPTY;
      this.#pending = next.value;
    }
    const piece = this.#pending.subarray(0, max);
    this.#pending = this.#pending.subarray(piece.length);
    return piece;
  }

  /** Reads exactly `count` bytes; fewer only when the input has ended. */
  async exactly(count: number): Promise<Buffer> {
    let all = await this.some(count);
    while (all.length < count) {
      const more = await this.some(count - all.length);
      if (more.length === 0) break;
      all = Buffer.concat([all, more]);
    }
    return all;
  }
}
