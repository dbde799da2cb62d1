/**
 * fwup's framing (`fwup --framing`): every message is `length:u32be | payload`. On its stdin the payload
 * is bytes of the archive; on its stdout it is `type:2 ASCII letters | code:u16be | text`.
 */

/** What fwup says on its stdout. */
export type FwupFrame =
  | { readonly type: "progress"; readonly percent: number }
  | { readonly type: "warning"; readonly text: string }
  | { readonly type: "ok"; readonly text: string }
  | { readonly type: "error"; readonly text: string }
  /** A type that this agent does not know, such as one of a later fwup. */
  | { readonly type: "unknown"; readonly name: string; readonly text: string };

export interface FrameReader {
  /** Takes the next bytes of stdout; returns the frames that they complete. Never throws. */
  read(chunk: Uint8Array): FwupFrame[];
  /** Bytes so far that belonged to no frame. */
  readonly skippedBytes: number;
}

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
 * Reads fwup's stdout in pieces of any size. What an `execute()` of the archive prints lands raw between
 * the frames (its child inherits fwup's stdout): such bytes are skipped up to the next thing that looks
 * like a frame. Holds at most one frame.
 */
export function createFrameReader(): FrameReader {
  const buffer = Buffer.alloc(LENGTH_BYTES + MAX_PAYLOAD_BYTES);
  let filled = 0;
  let skippedBytes = 0;

  const nameAt = (at: number): string => buffer.toString("latin1", at, at + 2);

  /** Takes what is complete out of the buffer. */
  function drain(frames: FwupFrame[]): void {
    let at = 0;
    while (filled - at >= LENGTH_BYTES + HEAD_BYTES) {
      const payloadBytes = buffer.readUInt32BE(at);
      const name = payloadBytes > MAX_PAYLOAD_BYTES ? "" : nameAt(at + LENGTH_BYTES);
      if (!looksLikeFrame(payloadBytes, name)) {
        at += 1;
        skippedBytes += 1;
        continue;
      }
      const end = at + LENGTH_BYTES + payloadBytes;
      if (end > filled) break;
      frames.push(parseFrame(name, buffer.subarray(at + LENGTH_BYTES + 2, end)));
      at = end;
    }
    buffer.copyWithin(0, at, filled);
    filled -= at;
  }

  return {
    read(chunk) {
      const frames: FwupFrame[] = [];
      for (let taken = 0; taken < chunk.length;) {
        const piece = chunk.subarray(taken, taken + buffer.length - filled);
        buffer.set(piece, filled);
        filled += piece.length;
        taken += piece.length;
        drain(frames);
      }
      return frames;
    },
    get skippedBytes() {
      return skippedBytes;
    },
  };
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
