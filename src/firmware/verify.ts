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

/**
 * How a file differs from what was announced.
 *
 * - `part`: a part's checksum; to fetch it again, from the verifier's `offset` on, may help
 * - `checksum`: the whole file's checksum, though each part (if there are any) was right
 * - `too-long`, `too-short`: the size
 * - `announced`: what was announced contradicts itself
 */
export type VerificationFault = "part" | "checksum" | "too-long" | "too-short" | "announced";

export class VerificationFailure extends Failure {
  readonly fault: VerificationFault;

  constructor(fault: VerificationFault, message: string) {
    super("other", message);
    this.name = "VerificationFailure";
    this.fault = fault;
  }
}

/**
 * Checks a file while it passes. Where parts are announced only bytes of proven parts are handed out, and
 * at most one part is held; the last {@link TAIL_BYTES} always wait for `end`.
 *
 * A chunk that is handed out is valid only until the next is asked for: its memory is used again.
 */
export interface Verifier {
  readonly expected: ExpectedFile;
  /** The position in the file of the next byte to push, and so where a download goes on. */
  readonly offset: number;
  /** The position up to which all is proven: by its part, or without parts merely received. */
  readonly verifiedBytes: number;
  /** How many bytes were handed out: the position of the next that will be. */
  readonly passedBytes: number;
  /** True once `end` has found the whole file right. */
  readonly proven: boolean;
  /**
   * Takes the bytes at `offset`; the result must be read to its end.
   * @throws VerificationFailure; after fault `part`, `offset` is that part's start again
   */
  push(chunk: Uint8Array): Iterable<Uint8Array>;
  /**
   * The file ends here: hands out the rest.
   * @throws VerificationFailure
   */
  end(): Iterable<Uint8Array>;
  /**
   * Forgets all it was given.
   * @throws Error when bytes have been handed out: a defect of the caller
   */
  restart(): void;
}

/** @throws VerificationFailure `announced` when the number of parts does not fit the size */
export function createVerifier(expected: ExpectedFile): Verifier {
  const { sizeBytes, checksum, parts } = expected;
  if (parts !== null && sizeBytes !== null && parts.length !== Math.ceil(sizeBytes / PART_BYTES)) {
    const text = `the hub announced ${parts.length} part checksums for ${sizeBytes} bytes; the firmware's entry on the hub is damaged`;
    throw new VerificationFailure("announced", text);
  }
  const maxBytes = sizeBytes ?? (parts === null ? Number.POSITIVE_INFINITY : parts.length * PART_BYTES);
  let whole = createHash("sha256");
  const part = parts === null ? undefined : Buffer.allocUnsafe(Math.min(PART_BYTES, maxBytes));
  let partFilled = 0;
  let verifiedBytes = 0;
  let passedBytes = 0;
  let proven = false;
  const tail = Buffer.allocUnsafe(TAIL_BYTES);
  let tailFilled = 0;

  /** Takes the unfinished part for complete. */
  function* closePart(bytes: Buffer): Generator<Uint8Array, void> {
    const index = verifiedBytes / PART_BYTES;
    partFilled = 0;
    if (sha256(bytes) !== parts?.[index]?.toLowerCase()) {
      const text = `part ${index + 1} of ${parts?.length ?? 0} of the firmware is not what the hub announced (SHA-256)`;
      throw new VerificationFailure("part", text);
    }
    yield* accept(bytes);
  }

  /** Proven bytes: all but the file's last ones go out. */
  function* accept(bytes: Uint8Array): Generator<Uint8Array, void> {
    whole.update(bytes);
    verifiedBytes += bytes.length;
    const surplus = Math.max(0, tailFilled + bytes.length - TAIL_BYTES);
    const fromTail = Math.min(surplus, tailFilled);
    if (fromTail > 0) {
      passedBytes += fromTail;
      yield tail.subarray(0, fromTail);
      tail.copyWithin(0, fromTail, tailFilled);
      tailFilled -= fromTail;
    }
    const fromBytes = surplus - fromTail;
    if (fromBytes > 0) {
      passedBytes += fromBytes;
      yield bytes.subarray(0, fromBytes);
    }
    tail.set(bytes.subarray(fromBytes), tailFilled);
    tailFilled += bytes.length - fromBytes;
  }

  return {
    expected,
    get offset() {
      return verifiedBytes + partFilled;
    },
    get verifiedBytes() {
      return verifiedBytes;
    },
    get passedBytes() {
      return passedBytes;
    },
    get proven() {
      return proven;
    },
    *push(chunk) {
      if (verifiedBytes + partFilled + chunk.length > maxBytes) {
        throw new VerificationFailure(
          "too-long",
          `the firmware is longer than the ${maxBytes} bytes announced`,
        );
      }
      if (part === undefined) {
        yield* accept(chunk);
        return;
      }
      for (let taken = 0; taken < chunk.length;) {
        const piece = chunk.subarray(taken, taken + part.length - partFilled);
        part.set(piece, partFilled);
        partFilled += piece.length;
        taken += piece.length;
        if (partFilled === part.length) yield* closePart(part);
      }
    },
    *end() {
      const received = verifiedBytes + partFilled;
      if (sizeBytes !== null && received < sizeBytes) {
        const text = `the firmware ended after ${received} bytes, announced were ${sizeBytes}`;
        throw new VerificationFailure("too-short", text);
      }
      if (part !== undefined && partFilled > 0) yield* closePart(part.subarray(0, partFilled));
      if (parts !== null && Math.ceil(verifiedBytes / PART_BYTES) < parts.length) {
        const text = `the firmware ended after ${verifiedBytes} bytes, announced were ${parts.length} parts of 1 MiB`;
        throw new VerificationFailure("too-short", text);
      }
      if (checksum !== null && whole.digest("hex") !== checksum.toLowerCase()) {
        throw new VerificationFailure("checksum", "the firmware's SHA-256 is not the one the hub announced");
      }
      proven = true;
      passedBytes += tailFilled;
      yield tail.subarray(0, tailFilled);
    },
    restart() {
      if (passedBytes > 0) throw new Error("verifier: bytes that were handed out can't be taken back");
      whole = createHash("sha256");
      partFilled = 0;
      verifiedBytes = 0;
      tailFilled = 0;
    },
  };
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/**
 * Passes on the bytes of a stream that are proven; see {@link Verifier}.
 * @throws VerificationFailure; what `source` throws
 */
export async function* verified(
  source: AsyncIterable<Uint8Array>,
  verifier: Verifier,
): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of source) yield* verifier.push(chunk);
  yield* verifier.end();
}
