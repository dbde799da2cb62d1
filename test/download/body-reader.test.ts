import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { BodyReader } from "../../src/download/request.ts";

describe("a body", () => {
  it("that breaks gives all that came before, then what broke it, each time it is asked", async () => {
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

  it("wakes who waits for it, when more comes, when it ends and when it breaks", async () => {
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

  it("that is ended by its owner ends for its reader too", async () => {
    const body = new PassThrough();
    const waiting = new BodyReader(body).next();
    body.destroy();
    assert.equal(await waiting, null);
  });

  it("holds the line back while nobody reads, and goes on when somebody does", async () => {
    const body = new PassThrough();
    const reader = new BodyReader(body);
    const chunk = Buffer.alloc(16 * 1024);
    let written = 0;
    while (body.write(chunk) || written < 10) {
      written += 1;
      await setImmediate();
      assert.ok(written < 100, "nothing held it back");
    }
    written += 1;
    body.end();
    let read = 0;
    for (let part = await reader.next(); part !== null; part = await reader.next()) read += part.length;
    assert.equal(read, written * chunk.length);
  });
});
