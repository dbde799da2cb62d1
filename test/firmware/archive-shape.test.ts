/** Whether bytes look like a firmware archive, however they are cut into chunks. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { ArchiveShape, flawOfFile } from "../../src/firmware/archive-shape.ts";

const WHOLE = Buffer.from(`PK\u0003\u0004${"x".repeat(40)}PK\u0005\u0006${"\u0000".repeat(18)}`, "latin1");
const CASES: readonly (readonly [bytes: Buffer, flaw: RegExp | undefined])[] = [
  [WHOLE, undefined],
  [Buffer.concat([WHOLE, Buffer.alloc(512)]), undefined],
  [Buffer.alloc(0), /^is empty$/],
  [Buffer.from("PK"), /^is not a \.fw file/],
  [Buffer.from("MZ and more"), /^is not a \.fw file/],
  [WHOLE.subarray(0, 40), /^is cut short/],
  [WHOLE.subarray(0, 47), /^is cut short/],
];

async function* inChunks(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield Promise.resolve(bytes.subarray(at, at + size));
}

function holds(flaw: string | undefined, expected: RegExp | undefined): void {
  if (expected === undefined) assert.equal(flaw, undefined);
  else assert.match(flaw ?? "", expected);
}

describe("the shape of an archive", () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-shape-"));
  });
  after(async () => rm(dir, { recursive: true }));

  for (const size of [1, 3, 7, 4096]) {
    it(`is seen in chunks of ${size}, which pass as they are`, async () => {
      for (const [bytes, expected] of CASES) {
        const shape = new ArchiveShape();
        const passed: Uint8Array[] = [];
        for await (const chunk of shape.watch(inChunks(bytes, size))) passed.push(chunk);
        holds(shape.flaw, expected);
        assert.deepEqual(Buffer.concat(passed), bytes);
      }
    });
  }

  it("is not judged before the end", async () => {
    const shape = new ArchiveShape();
    const chunks = shape.watch(inChunks(WHOLE, 8));
    while ((await chunks.next()).done !== true) assert.equal(shape.flaw, undefined);
  });

  it("is seen in a file", async () => {
    const file = join(dir, "a.fw");
    for (const [bytes, expected] of CASES) {
      await writeFile(file, bytes);
      holds(await flawOfFile(file), expected);
    }
  });
});
