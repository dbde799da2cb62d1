/**
 * The buffer between a response's socket and the reader of its body: order, ends, faults and back-pressure.
 */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { BodyReader } from "../../src/download/request.ts";

describe("a body", () => {
  it("that breaks gives all earlier bytes, and then the error at each read", async () => {
    const body = new PassThrough();
    const reader = new BodyReader(body);
    const came = Array.from({ length: 5 }, (_, index) => Buffer.from(`chunk ${index}`));
    for (const chunk of came) body.write(chunk);
    await setImmediate();
    body.destroy(new Error("reset"));
    await setImmediate();
    for (const chunk of came) assert.deepEqual(await reader.next(), chunk);
    await assert.rejects(reader.next(), /reset/);
    await assert.rejects(reader.next(), /reset/);
  });

  it("wakes its reader when more comes, when it ends and when it breaks", async () => {
    const body = new PassThrough();
    const reader = new BodyReader(body);
    const first = reader.next();
    body.write("more");
    assert.equal(String(await first), "more");
    const end = reader.next();
    body.end();
    assert.equal(await end, null);
    assert.equal(await reader.next(), null);

    const broken = new PassThrough();
    const waiting = new BodyReader(broken).next();
    broken.destroy(new Error("reset"));
    await assert.rejects(waiting, /reset/);
  });

  it("ends for its reader when its owner ends it", async () => {
    const body = new PassThrough();
    const waiting = new BodyReader(body).next();
    body.destroy();
    assert.equal(await waiting, null);
  });

  it("makes the sender wait while nobody reads, and goes on with the reader", async () => {
    const body = new PassThrough();
    const reader = new BodyReader(body);
    const chunk = Buffer.alloc(16 * 1024);
    let written = 0;
    while (body.write(chunk) || written < 10) {
      written += 1;
      await setImmediate();
      assert.ok(written < 100, "the sender did not wait");
    }
    written += 1;
    body.end();
    let read = 0;
    for (let part = await reader.next(); part !== null; part = await reader.next()) read += part.length;
    assert.equal(read, written * chunk.length);
  });
});
