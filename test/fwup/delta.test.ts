/** The delta decoder, with a delta written by hand from the RFC and with deltas of xdelta3. */
import { strict as assert } from "node:assert";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { applyDelta } from "./delta.ts";

const XDELTA3 = "xdelta3";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "hublink-delta-"));
});
after(async () => rm(folder, { recursive: true }));

/** Applies a delta that comes in pieces of the given size. */
async function patch(delta: Buffer, source: Buffer, pieceBytes = 1000): Promise<Buffer> {
  let at = 0;
  const next = async (): Promise<Buffer | undefined> => {
    const piece = delta.subarray(at, (at += pieceBytes));
    return Promise.resolve(piece.length === 0 ? undefined : piece);
  };
  const pieces: Buffer[] = [];
  const read = (offset: number, length: number): Buffer => source.subarray(offset, offset + length);
  for await (const piece of applyDelta(next, { read })) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

/** Random bytes, always the same. */
function noise(sizeBytes: number, seed: string): Buffer {
  return createHash("shake128", { outputLength: sizeBytes }).update(seed).digest();
}

/** RFC 3284 by hand: all kinds of instructions in one window, without a checksum. */
const HAND_MADE = Buffer.from(
  [
    "d6c3c400 00", // magic, version, no flags
    "01 0a 00", // a window with 10 bytes of source from offset 0
    "10 13 00 04 05 02", // 16 bytes follow; 19 of target; 4 of data, 5 of instructions, 2 of addresses
    "7778797a", // data: "wxyz"
    "04 17 0005 24", // add 3; copy 7; run 5; copy 4, its address counted back from here
    "00 01", // the start of the source; the byte before
  ]
    .join("")
    .replaceAll(" ", ""),
  "hex",
);
const DIGITS = Buffer.from("0123456789");

describe("a delta", () => {
  it("adds bytes, copies from the source, repeats a byte, and copies its own output", async () => {
    for (const pieceBytes of [1, 7, 1000])
      assert.equal((await patch(HAND_MADE, DIGITS, pieceBytes)).toString(), "wxy0123456zzzzzzzzz");
  });

  it("without the magic number is refused", async () => {
    await assert.rejects(patch(Buffer.from("no delta at all"), DIGITS), /not a VCDIFF input/);
  });

  it("that ends too soon is refused", async () => {
    await assert.rejects(patch(HAND_MADE.subarray(0, 20), DIGITS), /further input required/);
  });

  it("that makes more than it announces is refused", async () => {
    const overrun = Buffer.from(HAND_MADE);
    overrun[9] = 0x12;
    await assert.rejects(patch(overrun, DIGITS), /overflow: target/);
  });

  it("for a longer source is refused", async () => {
    await assert.rejects(patch(HAND_MADE, DIGITS.subarray(0, 5)), /source file too short/);
  });
});

describe("xdelta3's deltas", { skip: xdelta3Missing() }, () => {
  const makeDelta = async (from: Buffer, to: Buffer): Promise<Buffer> => {
    await writeFile(join(folder, "from"), from);
    await writeFile(join(folder, "to"), to);
    execFileSync(XDELTA3, ["-A", "-S", "-f", "-s", "from", "to", "delta"], { cwd: folder });
    return readFile(join(folder, "delta"));
  };
  const from = noise(20 << 20, "from"); // more than two of xdelta3's windows of 8 MiB
  const cases: [string, Buffer][] = [
    ["of the same content", from],
    ["with pieces moved", Buffer.concat([from.subarray(9 << 20), from.subarray(0, 9 << 20)])],
    [
      "with pieces inserted",
      Buffer.concat([from.subarray(0, 5_000_000), noise(300_000, "new"), from.subarray(5_000_000)]),
    ],
    [
      "with runs",
      Buffer.concat([from.subarray(0, 777), Buffer.alloc(400_000, 7), from.subarray(500, 900_000)]),
    ],
    [
      "with repetitions of itself",
      Buffer.concat(Array.from({ length: 50 }, (_, i) => noise(5000, String(i % 3)))),
    ],
    ["with nothing in common", noise(1 << 20, "other")],
    ["of an empty file", Buffer.alloc(0)],
    ["with small edits", Buffer.from(from.map((byte, i) => (i % 1013 === 0 ? byte ^ 1 : byte)))],
  ];
  for (const [title, to] of cases)
    it(`${title} give the new content`, async () => {
      const made = await patch(await makeDelta(from, to), from);
      assert.ok(made.equals(to));
    });

  it("on another base are refused", async () => {
    const delta = await makeDelta(from, Buffer.concat([from.subarray(100), noise(10, "")]));
    await assert.rejects(patch(delta, noise(20 << 20, "other")), /target window checksum mismatch/);
  });
});

function xdelta3Missing(): string | false {
  try {
    execFileSync(XDELTA3, ["-V"], { stdio: "ignore" });
    return false;
  } catch {
    return "xdelta3 is not installed";
  }
}
