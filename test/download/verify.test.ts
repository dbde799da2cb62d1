/**
 * The verifier of a stream: no byte of an unproven part comes out, and the last 64 KiB wait for the whole
 * file.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  Verifier,
  PART_BYTES,
  TAIL_BYTES,
  VerificationFailure,
  withholdEnd,
  type ExpectedFile,
} from "../../src/download/verify.ts";
import { announce, someBytes, verify } from "./announce.ts";

const NOTHING: ExpectedFile = { sizeBytes: null, checksum: null, parts: null };

/** Passes `bytes` through in pieces. @returns a copy of all chunks, since the verifier uses their memory again */
async function pass(
  bytes: Uint8Array,
  expected: ExpectedFile,
  pieceBytes = 60_000,
): Promise<{ out: Buffer; failure: VerificationFailure | undefined }> {
  const out: Buffer[] = [];
  let failure: VerificationFailure | undefined;
  try {
    for await (const chunk of verify(pieces(bytes, pieceBytes), new Verifier(expected))) {
      out.push(Buffer.from(chunk));
    }
  } catch (error) {
    assert.ok(error instanceof VerificationFailure);
    failure = error;
  }
  return { out: Buffer.concat(out), failure };
}

// eslint-disable-next-line @typescript-eslint/require-await -- the verifier needs an async stream
async function* pieces(bytes: Uint8Array, pieceBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

async function hasWrongSize(bytes: Uint8Array, expected: ExpectedFile, words: string): Promise<void> {
  const { failure } = await pass(bytes, expected);
  assert.equal(failure?.code, "size_wrong");
  assert.ok(failure.message.includes(words), failure.message);
}

describe("a file that passes the verifier", () => {
  const file = someBytes(2 * PART_BYTES + 300_000);
  const expected = announce(file);

  for (const [what, announced] of [
    ["with size, checksum and parts", expected],
    ["with upper-case checksums", { ...expected, checksum: expected.checksum.toUpperCase() }],
    ["with upper-case parts", { ...expected, parts: expected.parts.map((part) => part.toUpperCase()) }],
    ["with parts only", { ...NOTHING, parts: expected.parts }],
    ["with checksum only", { ...NOTHING, checksum: expected.checksum }],
    ["with nothing announced", NOTHING],
  ] as const) {
    it(`comes out unchanged: ${what}`, async () => {
      const { out, failure } = await pass(file, announced);
      assert.equal(failure, undefined);
      assert.ok(out.equals(file));
    });
  }

  it("comes out unchanged in pieces of any size", async () => {
    const length = fc.constantFrom(1, TAIL_BYTES, TAIL_BYTES + 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1);
    await fc.assert(
      fc.asyncProperty(length, fc.integer({ min: 900, max: 2 * PART_BYTES }), async (size, pieceBytes) => {
        const bytes = file.subarray(0, size);
        const { out, failure } = await pass(bytes, announce(bytes), pieceBytes);
        assert.equal(failure, undefined);
        assert.ok(out.equals(bytes));
      }),
      { numRuns: 60 },
    );
  });

  it("may be empty, when that was announced", async () => {
    assert.deepEqual(await pass(Buffer.alloc(0), announce(Buffer.alloc(0))), {
      out: Buffer.alloc(0),
      failure: undefined,
    });
  });

  it("gives no byte of an unproven part", async () => {
    for (const at of [0, PART_BYTES - 1, PART_BYTES, 2 * PART_BYTES, file.length - 1]) {
      const bad = flipped(file, at);
      const { out, failure } = await pass(bad, { ...expected, checksum: null });
      assert.equal(failure?.code, "part_wrong");
      const proven = at - (at % PART_BYTES);
      assert.equal(out.length, Math.max(0, proven - TAIL_BYTES));
      assert.ok(out.equals(file.subarray(0, out.length)));
    }
  });

  it("gives the last 64 KiB only when the whole file is proven", async () => {
    for (const announced of [
      expected,
      { ...expected, parts: null },
      { ...NOTHING, checksum: expected.checksum },
    ]) {
      const wrong = { ...announced, checksum: createHash("sha256").digest("hex") };
      const { out, failure } = await pass(file, wrong);
      assert.equal(failure?.code, "checksum_wrong");
      assert.ok(out.length <= file.length - TAIL_BYTES);
    }
  });

  it("fails with the reason when it is too long or too short", async () => {
    const partsOnly = { ...NOTHING, parts: expected.parts };
    const longer = Buffer.concat([file, Buffer.alloc(1)]);
    await hasWrongSize(longer, expected, "is longer than");
    await hasWrongSize(longer, { ...expected, parts: null }, "is longer than");
    await hasWrongSize(someBytes(3 * PART_BYTES + 1), partsOnly, "is longer than");
    const shorter = file.subarray(0, -1);
    await hasWrongSize(shorter, expected, "ended after");
    await hasWrongSize(shorter, { ...expected, parts: null }, "ended after");
    await hasWrongSize(file.subarray(0, 2 * PART_BYTES), partsOnly, "ended after");
  });

  it("is refused when the announced parts do not fit the announced size", () => {
    assert.throws(() => new Verifier({ ...expected, parts: expected.parts.slice(1) }), {
      code: "announcement_invalid",
    });
  });

  it("goes on from the start of a wrong part", () => {
    const verifier = new Verifier(expected);
    const out: Buffer[] = [];
    const push = (bytes: Uint8Array): void => {
      for (const chunk of verifier.push(bytes)) out.push(Buffer.from(chunk));
    };
    assert.throws(() => push(flipped(file, PART_BYTES + 5)), VerificationFailure);
    assert.equal(verifier.offset, PART_BYTES);
    assert.equal(verifier.verifiedBytes, PART_BYTES);
    push(file.subarray(verifier.offset));
    assert.equal(verifier.offset, file.length);
    assert.equal(verifier.verifiedBytes, 2 * PART_BYTES);
    for (const chunk of verifier.end()) out.push(Buffer.from(chunk));
    assert.ok(Buffer.concat(out).equals(file));
    assert.equal(verifier.passedBytes, file.length);
  });

  it("goes on from the start of a wrong last part, which only its end shows", () => {
    const verifier = new Verifier(expected);
    drain(verifier.push(flipped(file, file.length - 1)));
    assert.throws(() => drain(verifier.end()), VerificationFailure);
    assert.equal(verifier.offset, 2 * PART_BYTES);
    drain(verifier.push(file.subarray(verifier.offset)));
    drain(verifier.end());
    assert.equal(verifier.passedBytes, file.length);
  });

  it("can start over before a byte came out, and not after", () => {
    for (const announced of [expected, { ...expected, parts: null }]) {
      const verifier = new Verifier(announced);
      drain(verifier.push(someBytes(TAIL_BYTES, 9)));
      verifier.restart();
      assert.equal(verifier.offset, 0);
      drain(verifier.push(file));
      assert.throws(() => verifier.restart(), /handed out/);
      drain(verifier.end());
      assert.equal(verifier.passedBytes, file.length);
    }
  });
});

function drain(chunks: Iterable<Uint8Array>): void {
  for (const chunk of chunks) assert.ok(chunk.length >= 0);
}

function flipped(bytes: Uint8Array, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
  return copy;
}

describe("the end of a file", () => {
  /** Passes pieces of `sizes` bytes, in memory that is used again. @returns how many bytes came before the check */
  async function passed(sizes: readonly number[]): Promise<readonly [before: number, Buffer]> {
    const memory = Buffer.alloc(Math.max(0, ...sizes));
    const source = async function* (): AsyncGenerator<Uint8Array, void> {
      for (const [index, size] of sizes.entries())
        yield await Promise.resolve(memory.fill(index + 1).subarray(0, size));
    };
    const out: Buffer[] = [];
    let before = -1;
    const confirm = async (): Promise<void> => {
      before = out.reduce((sum, { length }) => sum + length, 0);
      return Promise.resolve();
    };
    for await (const chunk of withholdEnd(source(), confirm)) out.push(Buffer.from(chunk));
    return [before, Buffer.concat(out)];
  }

  it("is withheld until the last check has passed, however the file is cut in pieces", async () => {
    const size = fc.oneof(
      fc.integer({ min: 0, max: 3 * TAIL_BYTES }),
      fc.constantFrom(1, TAIL_BYTES - 1, TAIL_BYTES),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(size, { maxLength: 6 }), async (sizes) => {
        const [before, out] = await passed(sizes);
        const whole = Buffer.concat(sizes.map((length, index) => Buffer.alloc(length, index + 1)));
        assert.ok(out.equals(whole));
        assert.equal(before, Math.max(0, whole.length - TAIL_BYTES));
      }),
      { numRuns: 200 },
    );
  });

  it("never comes when the check fails", async () => {
    const source = async function* (): AsyncGenerator<Uint8Array, void> {
      yield await Promise.resolve(Buffer.alloc(TAIL_BYTES + 5));
    };
    let bytes = 0;
    const read = async (): Promise<void> => {
      const stream = withholdEnd(source(), async () => Promise.reject(new Error("switched")));
      for await (const chunk of stream) bytes += chunk.length;
    };
    await assert.rejects(read(), /switched/);
    assert.equal(bytes, 5);
  });
});
