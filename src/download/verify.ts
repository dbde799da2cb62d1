/**
 * Proving a firmware file by what the hub announced of it. No byte of a part is handed out before the part
 * is proven, and the last 64 KiB never before the whole file is: fwup finishes, and so switches slots, as
 * soon as it sees the archive's directory, which stands at the end.
 */
import { createHash } from "node:crypto";
import { Failure } from "../platform/failure.ts";

/** The hub's announcement of a firmware file; null where it announced nothing. Checksums are hex SHA-256. */
export interface ExpectedFile {
  readonly sizeBytes: number | null;
  readonly checksum: string | null;
  /** One for each {@link PART_BYTES}, in order; the last part may be shorter. */
  readonly parts: readonly string[] | null;
}

/**
 * Whether its bytes prove themselves in the end, wherever they came from. Then an ETag decides nothing: servers behind
 * one name give the same file under ETags of their own, and each change of the server would cost what is there.
 */
export function provesItself({ checksum, parts }: ExpectedFile): boolean {
  return checksum !== null || parts !== null;
}

/** The hub's unit: a checksum for each MiB. */
export const PART_BYTES = 1024 * 1024;

/** The bytes at the end that wait for the proof of the whole; the archive's directory is far shorter. */
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

/** @param index from 0 */
export function wrongPart(index: number, count: number): VerificationFailure {
  const text = `part ${index + 1} of ${count} of the firmware is not what the hub announced (SHA-256)`;
  return new VerificationFailure("part_wrong", text, index);
}

/** The failure of a file whose checksum as a whole is wrong. */
export function wrongChecksum(): VerificationFailure {
  const text = "the firmware's SHA-256 is not the one the hub announced";
  return new VerificationFailure("checksum_wrong", text);
}

/** The failure of a file that goes on after the size that was announced. */
export function tooLong(sizeBytes: number): VerificationFailure {
  return new VerificationFailure(
    "size_wrong",
    `the firmware is longer than the ${sizeBytes} bytes announced`,
  );
}

/** In hex. */
export function sha256(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/**
 * Passes `source` on, its last {@link TAIL_BYTES} only once `confirm` has resolved: nothing can be checked after
 * them, because fwup switches slots on them.
 * @throws what `source` and `confirm` throw
 */
export async function* withholdEnd(
  source: AsyncIterable<Uint8Array>,
  confirm: () => Promise<void>,
): AsyncGenerator<Uint8Array, void> {
  let held: Uint8Array = new Uint8Array();
  for await (const chunk of source) {
    const free = held.length + chunk.length - TAIL_BYTES;
    if (free >= held.length) {
      if (held.length > 0) yield held;
      const rest = free - held.length;
      if (rest > 0) yield chunk.subarray(0, rest);
      held = Buffer.from(chunk.subarray(rest)); // a copy: the chunk may be overwritten once the next is asked for
    } else {
      if (free > 0) yield held.subarray(0, free);
      held = Buffer.concat([held.subarray(Math.max(0, free)), chunk]);
    }
  }
  await confirm();
  if (held.length > 0) yield held;
}

/** The size of the pieces that are checked when no parts are announced. Longer than the tail: see `push`. */
const PIECE_BYTES = 2 * TAIL_BYTES;
const NOTHING: Buffer<ArrayBuffer> = Buffer.alloc(0);

/**
 * Checks a file while it passes. Bytes are handed out by the part, once it is proven where parts are
 * announced; the last {@link TAIL_BYTES} always wait for `end`.
 *
 * Two parts are held in turn, so that one can be written while the next comes in: a chunk that was handed
 * out is valid until the next but one is asked for. Then its memory is used again.
 */
export class Verifier {
  readonly expected: ExpectedFile;
  readonly #maxBytes: number;
  readonly #partBytes: number;
  #whole = createHash("sha256");
  #filling: Buffer<ArrayBuffer>;
  #other: Buffer<ArrayBuffer>;
  /** How many bytes of `#filling` are there. */
  #filled = 0;
  /** The end of `#other`, proven and not handed out. */
  #held = NOTHING;
  #verifiedBytes = 0;
  #passedBytes = 0;

  /** @throws VerificationFailure `announcement_invalid` when the number of parts does not fit the size */
  constructor(expected: ExpectedFile) {
    const { sizeBytes, parts } = expected;
    if (parts !== null && sizeBytes !== null && parts.length !== Math.ceil(sizeBytes / PART_BYTES)) {
      const text = `the hub announced ${parts.length} part checksums for ${sizeBytes} bytes; the firmware's entry on the hub is damaged`;
      throw new VerificationFailure("announcement_invalid", text);
    }
    this.expected = expected;
    this.#maxBytes = sizeBytes ?? (parts === null ? Number.POSITIVE_INFINITY : parts.length * PART_BYTES);
    this.#partBytes = Math.min(parts === null ? PIECE_BYTES : PART_BYTES, this.#maxBytes);
    this.#filling = Buffer.allocUnsafe(this.#partBytes);
    this.#other = Buffer.allocUnsafe(this.#partBytes);
  }

  /** The position in the file of the next byte to push, and so where a download goes on. */
  get offset(): number {
    return this.#verifiedBytes + this.#filled;
  }

  /** The position up to which the file is proven by its parts; without parts, merely received. */
  get verifiedBytes(): number {
    return this.#verifiedBytes;
  }

  /** How many bytes were handed out: the position of the next that will be. */
  get passedBytes(): number {
    return this.#passedBytes;
  }

  /**
   * Takes the bytes at `offset`; the result must be read to its end.
   * @throws VerificationFailure; after `part_wrong`, `offset` is that part's start again
   */
  *push(chunk: Uint8Array): Generator<Uint8Array, void> {
    if (this.offset + chunk.length > this.#maxBytes) throw tooLong(this.#maxBytes);
    for (let at = 0; at < chunk.length;) {
      const piece = chunk.subarray(at, at + this.#partBytes - this.#filled);
      this.#filling.set(piece, this.#filled);
      this.#filled += piece.length;
      at += piece.length;
      if (this.#filled < this.#partBytes) return;
      const part = this.#provePart();
      const before = this.#held;
      const tailAt = Math.max(0, part.length - TAIL_BYTES);
      this.#held = part.subarray(tailAt);
      [this.#filling, this.#other] = [this.#other, this.#filling];
      yield* this.#pass(before); // in the memory that is filled next, so one more must come before that
      yield* this.#pass(part.subarray(0, tailAt));
    }
  }

  /**
   * Ends the file: hands out the rest.
   * @throws VerificationFailure
   */
  *end(): Generator<Uint8Array, void> {
    const { checksum, parts } = this.expected;
    if (parts !== null) this.#checkLength(); // before the last part, which would merely look wrong
    const held = this.#held;
    const last = this.#filled > 0 ? this.#provePart() : NOTHING;
    const heldLess = Math.min(held.length, Math.max(0, held.length + last.length - TAIL_BYTES));
    const lastLess = Math.max(0, last.length - TAIL_BYTES);
    yield* this.#pass(held.subarray(0, heldLess));
    yield* this.#pass(last.subarray(0, lastLess));
    this.#checkLength();
    if (parts !== null && Math.ceil(this.#verifiedBytes / PART_BYTES) < parts.length) {
      const text = `the firmware ended after ${this.#verifiedBytes} bytes, announced were ${parts.length} parts of 1 MiB`;
      throw new VerificationFailure("size_wrong", text);
    }
    if (checksum !== null && this.#whole.digest("hex") !== checksum.toLowerCase()) throw wrongChecksum();
    yield* this.#pass(held.subarray(heldLess));
    yield* this.#pass(last.subarray(lastLess));
  }

  /** Forgets the bytes of the part that is not complete, so that `offset` is its start; needs parts. */
  dropUnproven(): void {
    if (this.expected.parts === null) {
      throw new Error("verifier: without parts nothing is proven before the end");
    }
    this.#filled = 0;
  }

  /**
   * Forgets all bytes it was given.
   * @throws Error when bytes have been handed out: a defect of the caller
   */
  restart(): void {
    if (this.#passedBytes > 0) throw new Error("verifier: bytes that were handed out can't be taken back");
    this.#whole = createHash("sha256");
    this.#filled = 0;
    this.#held = NOTHING;
    this.#verifiedBytes = 0;
  }

  /** Takes the bytes that came of the part for all of it. @throws VerificationFailure */
  #provePart(): Buffer<ArrayBuffer> {
    const { parts } = this.expected;
    const bytes = this.#filling.subarray(0, this.#filled);
    const index = this.#verifiedBytes / PART_BYTES;
    this.#filled = 0;
    if (parts !== null && sha256(bytes) !== parts[index]?.toLowerCase()) throw wrongPart(index, parts.length);
    this.#whole.update(bytes);
    this.#verifiedBytes += bytes.length;
    return bytes;
  }

  #checkLength(): void {
    const { sizeBytes } = this.expected;
    if (sizeBytes === null || this.offset >= sizeBytes) return;
    const text = `the firmware ended after ${this.offset} bytes, announced were ${sizeBytes}`;
    throw new VerificationFailure("size_wrong", text);
  }

  *#pass(bytes: Buffer): Generator<Uint8Array, void> {
    this.#passedBytes += bytes.length;
    if (bytes.length > 0) yield bytes;
  }
}
