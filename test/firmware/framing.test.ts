/**
 * fwup's framing of its input and output: checked against bytes of the real fwup, and against any other
 * bytes.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  FrameReader,
  END_OF_INPUT,
  frameHeader,
  MAX_PAYLOAD_BYTES,
  type FwupFrame,
} from "../../src/firmware/framing.ts";
import { frameBytes, type SaidFrame } from "./frame-bytes.ts";

function read(...chunks: Uint8Array[]): { frames: FwupFrame[]; skippedBytes: number } {
  const reader = new FrameReader();
  const frames = chunks.flatMap((chunk) => reader.read(chunk));
  return { frames, skippedBytes: reader.skippedBytes };
}

describe("fwup's framing", () => {
  it("writes lengths as fwup reads them", () => {
    assert.deepEqual([...frameHeader(300)], [0, 0, 1, 0x2c]);
    assert.deepEqual([...END_OF_INPUT], [0, 0, 0, 0]);
  });

  it("reads output of the real fwup", () => {
    // fwup 1.16.0, `-a -F -d disk.img -t status`.
    const said = Buffer.from(
      "0000000450520000000000 05574e00006100000004505200640000 00044f4b0000".replace(/ /g, ""),
      "hex",
    );
    assert.deepEqual(read(said), {
      frames: [
        { type: "progress", percent: 0 },
        { type: "warning", text: "a" },
        { type: "progress", percent: 100 },
        { type: "ok", text: "" },
      ],
      skippedBytes: 0,
    });
  });

  it("finds the next frame after bytes that a child of fwup printed", () => {
    const noise = Buffer.from("hello-from-execute\n0\n");
    const { frames, skippedBytes } = read(
      Buffer.concat([
        frameBytes(["PR", 1, ""]),
        noise,
        frameBytes(["PR", 2, ""]),
        noise,
        frameBytes(["OK", 0, ""]),
      ]),
    );
    assert.deepEqual(
      frames.map((frame) => (frame.type === "progress" ? frame.percent : frame.type)),
      [1, 2, "ok"],
    );
    assert.equal(skippedBytes, 2 * noise.length);
  });

  it("reports frames of an unknown type", () => {
    assert.deepEqual(read(frameBytes(["ZZ", 7, "later"])).frames, [
      { type: "unknown", name: "ZZ", text: "later" },
    ]);
  });

  it("reads the longest frame that is allowed, and takes a longer one for foreign bytes", () => {
    const longest = "x".repeat(MAX_PAYLOAD_BYTES - 4);
    assert.deepEqual(read(frameBytes(["ER", 0, longest])).frames, [{ type: "error", text: longest }]);
    const { frames } = read(frameBytes(["ER", 0, `${longest}x`]), frameBytes(["OK", 0, ""]));
    assert.deepEqual(frames, [{ type: "ok", text: "" }]);
  });

  it("reads the same frames from pieces of any size, and counts all other bytes", () => {
    const text = fc.string({ maxLength: 40, unit: "grapheme-ascii" }).map((raw) => raw.trim());
    const frame = fc.oneof(
      fc.tuple(fc.constant("PR"), fc.integer({ min: 0, max: 100 }), fc.constant("")),
      fc.tuple(fc.constantFrom("WN", "OK", "ER", "XY"), fc.constant(0), text),
    ) satisfies fc.Arbitrary<SaidFrame>;
    // Printable, since no reader can tell a frame from bytes that look like one.
    const noise = fc
      .string({ maxLength: 60, unit: "grapheme-ascii" })
      .map((raw) => Buffer.from(raw, "latin1"));
    const stream = fc.array(fc.oneof(frame.map(frameBytes), noise), { maxLength: 12 });
    fc.assert(
      fc.property(
        stream,
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 8 }),
        (pieces, cuts) => {
          const bytes = Buffer.concat([...pieces, frameBytes(["OK", 0, "end"])]);
          const chunks: Buffer[] = [];
          for (let at = 0, cut = 0; at < bytes.length; cut += 1) {
            const size = cuts[cut % cuts.length] ?? 1;
            chunks.push(bytes.subarray(at, at + size));
            at += size;
          }
          const cutUp = read(...chunks);
          assert.deepEqual(cutUp, read(bytes));
          assert.deepEqual(cutUp.frames.at(-1), { type: "ok", text: "end" });
        },
      ),
      { numRuns: 15_000 },
    );
  });

  it("reads any bytes without throwing, and never holds more than a frame", () => {
    const nasty = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc
        .tuple(fc.integer({ min: 0, max: 0xffffffff }), fc.constantFrom("PR", "OK", "??"))
        .map(([length, name]) => {
          const head = Buffer.alloc(8, name, "latin1");
          head.writeUInt32BE(length);
          return head;
        }),
    );
    fc.assert(
      fc.property(fc.array(nasty, { maxLength: 10 }), (chunks) => {
        const reader = new FrameReader();
        for (const chunk of chunks) reader.read(chunk);
        // The reader holds at most one frame, which this number of bytes completes or skips.
        const more = Buffer.concat([Buffer.alloc(2048, "-"), frameBytes(["OK", 0, ""])]);
        const known = (): boolean => reader.read(more).some((frame) => frame.type === "ok");
        assert.ok(Array.from({ length: MAX_PAYLOAD_BYTES / 2048 + 1 }).some(known));
      }),
      { numRuns: 10_000 },
    );
  });
});
