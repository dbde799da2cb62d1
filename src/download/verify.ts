import { createHash } from "node:crypto";
import { Failure } from "../platform/failure.ts";

/** What the hub says of a firmware file; null is what it didn't say. Checksums are hex SHA-256. */
export interface ExpectedFile {
  readonly sizeBytes: number | null;
  readonly checksum: string | null;
  /** One for each {@link PART_BYTES}, in order; the last part may be shorter. */
  readonly parts: readonly string[] | null;
}

/** The hub's unit: a checksum for each MiB. */
export const PART_BYTES = 1024 * 1024;

/**
 * So many last bytes are withheld until the whole file is proven: fwup finishes as soon as it sees the
 * archive's directory, which stands at the end and is far shorter.
 */
export const TAIL_BYTES = 64 * 1024;

/** How a file differs from what was announced. A wrong part may be right when it is fetched again. */
export class VerificationFailure extends Failure {
  /** Which part, from 0, for `part_wrong`. */
  readonly part: number | undefined;

  constructor(
    code: "part_wrong" | "checksum_wrong" | "size_wrong" | "announcement_invalid",
    message: string,
    part?: number,
  ) {
    super(code, message);
    this.name = "VerificationFailure";
    this.part = part;
  }
}

/**
 * Checks a file while it passes. Bytes are handed out by the part, once it is proven where parts are
 * announced; the last {@link TAIL_BYTES} always wait for `end`.
 *
 * Two parts are held in turn, so that one can be written while the next comes in: a chunk that was handed
 * out is valid until the next but one is asked for. Then its memory is used again.
 */
export interface Verifier {
  readonly expected: ExpectedFile;
  /** The position in the file of the next byte to push, and so where a download goes on. */
  readonly offset: number;
  /** The position up to which all is proven: by its part, or without parts merely received. */
  readonly verifiedBytes: number;
  /** How many bytes were handed out: the position of the next that will be. */
  readonly passedBytes: number;
  /**
   * Takes the bytes at `offset`; the result must be read to its end.
   * @throws VerificationFailure; after `part_wrong`, `offset` is that part's start again
   */
  push(chunk: Uint8Array): Iterable<Uint8Array>;
  /**
   * The file ends here: hands out the rest.
   * @throws VerificationFailure
   */
  end(): Iterable<Uint8Array>;
  /** Forgets the bytes of the part that is not complete, so that `offset` is its start; needs parts. */
  dropUnproven(): void;
  /**
   * Forgets all it was given.
   * @throws Error when bytes have been handed out: a defect of the caller
   */
  restart(): void;
}

/** What is taken for a part where none are announced. Longer than the tail: see `push`. */
const PIECE_BYTES = 2 * TAIL_BYTES;
const NOTHING: Buffer<ArrayBuffer> = Buffer.alloc(0);

/** @throws VerificationFailure `announcement_invalid` when the number of parts does not fit the size */
export function createVerifier(expected: ExpectedFile): Verifier {
  const { sizeBytes, checksum, parts } = expected;
  if (parts !== null && sizeBytes !== null && parts.length !== Math.ceil(sizeBytes / PART_BYTES)) {
    const text = `the hub announced ${parts.length} part checksums for ${sizeBytes} bytes; the firmware's entry on the hub is damaged`;
    throw new VerificationFailure("announcement_invalid", text);
  }
  const maxBytes = sizeBytes ?? (parts === null ? Number.POSITIVE_INFINITY : parts.length * PART_BYTES);
  const partBytes = Math.min(parts === null ? PIECE_BYTES : PART_BYTES, maxBytes);
  let whole = createHash("sha256");
  let filling = Buffer.allocUnsafe(partBytes);
  let other = Buffer.allocUnsafe(partBytes);
  let filled = 0;
  /** The end of `other`, proven and not handed out. */
  let held = NOTHING;
  let verifiedBytes = 0;
  let passedBytes = 0;

  /** Takes what came of the part for all of it. @throws VerificationFailure */
  const provePart = (): Buffer<ArrayBuffer> => {
    const bytes = filling.subarray(0, filled);
    const index = verifiedBytes / PART_BYTES;
    filled = 0;
    if (parts !== null && sha256(bytes) !== parts[index]?.toLowerCase()) {
      throw wrongPart(index, parts.length);
    }
    whole.update(bytes);
    verifiedBytes += bytes.length;
    return bytes;
  };

  const checkLength = (): void => {
    const received = verifiedBytes + filled;
    if (sizeBytes === null || received >= sizeBytes) return;
    const text = `the firmware ended after ${received} bytes, announced were ${sizeBytes}`;
    throw new VerificationFailure("size_wrong", text);
  };

  function* pass(bytes: Buffer): Generator<Uint8Array, void> {
    passedBytes += bytes.length;
    if (bytes.length > 0) yield bytes;
  }

  return {
    expected,
    get offset() {
      return verifiedBytes + filled;
    },
    get verifiedBytes() {
      return verifiedBytes;
    },
    get passedBytes() {
      return passedBytes;
    },
    *push(chunk) {
      if (verifiedBytes + filled + chunk.length > maxBytes) {
        throw new VerificationFailure(
          "size_wrong",
          `the firmware is longer than the ${maxBytes} bytes announced`,
        );
      }
      for (let taken = 0; taken < chunk.length;) {
        const piece = chunk.subarray(taken, taken + partBytes - filled);
        filling.set(piece, filled);
        filled += piece.length;
        taken += piece.length;
        if (filled < partBytes) return;
        const part = provePart();
        const before = held;
        const tailAt = Math.max(0, part.length - TAIL_BYTES);
        held = part.subarray(tailAt);
        [filling, other] = [other, filling];
        yield* pass(before); // in the memory that is filled next, so one more must come before that
        yield* pass(part.subarray(0, tailAt));
      }
    },
    *end() {
      if (parts !== null) checkLength(); // before the last part, which would merely look wrong
      const last = filled > 0 ? provePart() : NOTHING;
      const heldLess = Math.min(held.length, Math.max(0, held.length + last.length - TAIL_BYTES));
      const lastLess = Math.max(0, last.length - TAIL_BYTES);
      yield* pass(held.subarray(0, heldLess));
      yield* pass(last.subarray(0, lastLess));
      checkLength();
      if (parts !== null && Math.ceil(verifiedBytes / PART_BYTES) < parts.length) {
        const text = `the firmware ended after ${verifiedBytes} bytes, announced were ${parts.length} parts of 1 MiB`;
        throw new VerificationFailure("size_wrong", text);
      }
      if (checksum !== null && whole.digest("hex") !== checksum.toLowerCase()) {
        throw new VerificationFailure(
          "checksum_wrong",
          "the firmware's SHA-256 is not the one the hub announced",
        );
      }
      yield* pass(held.subarray(heldLess));
      yield* pass(last.subarray(lastLess));
    },
    dropUnproven() {
      if (parts === null) throw new Error("verifier: without parts nothing is proven before the end");
      filled = 0;
    },
    restart() {
      if (passedBytes > 0) throw new Error("verifier: bytes that were handed out can't be taken back");
      whole = createHash("sha256");
      filled = 0;
      held = NOTHING;
      verifiedBytes = 0;
    },
  };
}

/** @param index from 0 */
export function wrongPart(index: number, count: number): VerificationFailure {
  const text = `part ${index + 1} of ${count} of the firmware is not what the hub announced (SHA-256)`;
  return new VerificationFailure("part_wrong", text, index);
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
