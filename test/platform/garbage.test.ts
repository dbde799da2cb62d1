/** When garbage is collected, and that V8 does it. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { collectGarbage, Garbage, usedBytes } from "../../src/platform/garbage.ts";
import { FakeClock } from "./fake-clock.ts";

const MIB = 1024 * 1024;

describe("garbage", () => {
  it("is collected when it has grown by 4 MiB, and what is needed does not count again", async () => {
    const clock = new FakeClock();
    let usedMib = 15;
    let neededMib = 15;
    let collections = 0;
    const garbage = new Garbage({
      clock,
      usedBytes: () => usedMib * MIB,
      collect() {
        collections += 1;
        usedMib = neededMib;
      },
    });
    const after = async (mib: number): Promise<number> => {
      usedMib = mib;
      await clock.advance(10_000);
      return collections;
    };
    garbage.start();
    assert.equal(await after(18), 0);
    assert.equal(await after(19), 1);
    assert.equal(await after(18), 1);
    neededMib = 40;
    assert.equal(await after(41), 2);
    assert.equal(await after(43), 2, "40 MiB are needed now");
    assert.equal(await after(20), 2, "and now they are not");
    neededMib = 20;
    assert.equal(await after(24), 3);
    garbage.stop();
    assert.equal(clock.pending, 0);
  });

  it("is freed by V8, buffers outside of its heap too", () => {
    const keep: Buffer[] = [];
    for (let n = 0; n < 32; n += 1) keep.push(Buffer.alloc(MIB));
    for (let n = 0; n < 3; n += 1) collectGarbage(); // the buffers are old now
    const before = usedBytes();
    keep.length = 0;
    for (let n = 0; n < 2; n += 1) collectGarbage(); // the second one waits for the threads of the first
    assert.ok(usedBytes() < before - 30 * MIB);
  });
});
