/**
 * fwup's framing (`fwup --framing`): every message is `length:u32be | payload`. On its stdin the payload
 * is bytes of the archive; on its stdout it is `type:2 ASCII letters | code:u16be | text`.
 */

/** A message on fwup's stdout. */
export type FwupFrame =
  | { readonly type: "progress"; readonly percent: number }
  | { readonly type: "warning"; readonly text: string }
  | { readonly type: "ok"; readonly text: string }
  | { readonly type: "error"; readonly text: string }
  /** A type that this agent does not know: a later fwup may have more. */
  | { readonly type: "unknown"; readonly name: string; readonly text: string };

/** Payloads longer than this are taken for foreign bytes; fwup's longest, its usage, has some 5 KiB. */
export const MAX_PAYLOAD_BYTES = 64 * 1024;

const LENGTH_BYTES = 4;
/** Type and code. */
const HEAD_BYTES = 4;

/** The frame that tells fwup that the archive ends here. */
export const END_OF_INPUT: Uint8Array = new Uint8Array(LENGTH_BYTES);

/** The four bytes that go before a payload of `payloadBytes` (at least 1) on fwup's stdin. */
export function frameHeader(payloadBytes: number): Uint8Array {
  const header = new Uint8Array(LENGTH_BYTES);
  new DataView(header.buffer).setUint32(0, payloadBytes);
  return header;
}

/**
 * Reads fwup's stdout in pieces of any size. The output of an `execute()` in the archive lands raw between
 * the frames (its child inherits fwup's stdout): such bytes are skipped up to the next bytes that look like a
 * frame. Holds at most one frame.
 */
export class FrameReader {
  readonly #buffer = Buffer.alloc(LENGTH_BYTES + MAX_PAYLOAD_BYTES);
  #filled = 0;
  #skippedBytes = 0;

  /** Bytes so far that belonged to no frame. */
  get skippedBytes(): number {
    return this.#skippedBytes;
  }

  /** Reads the next bytes of stdout; returns the frames that they complete. Never throws. */
  read(chunk: Uint8Array): FwupFrame[] {
    const frames: FwupFrame[] = [];
    for (let at = 0; at < chunk.length;) {
      const piece = chunk.subarray(at, at + this.#buffer.length - this.#filled);
      this.#buffer.set(piece, this.#filled);
      this.#filled += piece.length;
      at += piece.length;
      this.#drain(frames);
    }
    return frames;
  }

  /** Moves the complete frames out of the buffer. */
  #drain(frames: FwupFrame[]): void {
    const buffer = this.#buffer;
    let at = 0;
    while (this.#filled - at >= LENGTH_BYTES + HEAD_BYTES) {
      const payloadBytes = buffer.readUInt32BE(at);
      const name = payloadBytes > MAX_PAYLOAD_BYTES ? "" : nameAt(buffer, at + LENGTH_BYTES);
      if (!looksLikeFrame(payloadBytes, name)) {
        at += 1;
        this.#skippedBytes += 1;
        continue;
      }
      const end = at + LENGTH_BYTES + payloadBytes;
      if (end > this.#filled) break;
      frames.push(parseFrame(name, buffer.subarray(at + LENGTH_BYTES + 2, end)));
      at = end;
    }
    buffer.copyWithin(0, at, this.#filled);
    this.#filled -= at;
  }
}

function nameAt(buffer: Buffer, at: number): string {
  return buffer.toString("latin1", at, at + 2);
}

function looksLikeFrame(payloadBytes: number, name: string): boolean {
  if (payloadBytes < HEAD_BYTES) return false;
  return name === "PR" ? payloadBytes === HEAD_BYTES : /^[A-Z]{2}$/.test(name);
}

/** @param rest the payload after its type: the code and the text */
function parseFrame(name: string, rest: Buffer): FwupFrame {
  const text = rest.toString("utf8", 2).trim();
  switch (name) {
    case "PR":
      return { type: "progress", percent: Math.min(rest.readUInt16BE(0), 100) };
    case "WN":
      return { type: "warning", text };
    case "OK":
      return { type: "ok", text };
    case "ER":
      return { type: "error", text };
    default:
      return { type: "unknown", name, text };
  }
}
