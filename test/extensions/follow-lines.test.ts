/** A command whose lines are followed without an end, for the logging extension. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { followLines } from "../../src/extensions/logging.ts";
import { eventually } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const STEP_MS = 100;

describe("a command that is followed", () => {
  it("is read 64 KiB at a time, ten times a second: a flood waits in its pipe", async () => {
    const clock = new FakeClock();
    const stop = new AbortController();
    let bytes = 0;
    const followed = followLines("exec yes", clock, stop.signal, (line) => (bytes += line.length + 1));
    const pieces: number[] = [];
    try {
      while (pieces.length < 20) {
        const before = bytes;
        if (pieces.length > 0) await clock.advance(STEP_MS);
        await eventually(() => clock.pending === 1, "a piece, and the pause after it");
        for (let turn = 0; turn < 20; turn += 1) await clock.advance(0); // if it were read on, more would come
        pieces.push(bytes - before);
      }
    } finally {
      stop.abort();
    }
    assert.ok(
      pieces.every((piece) => piece > 0 && piece <= 64 * 1024),
      `${pieces.join(", ")} bytes at once`,
    );
    await assert.rejects(followed, /it ended with a signal/);
    assert.equal(clock.pending, 0);
  });

  it("passes on all lines, including those before its end", async () => {
    const lines: string[] = [];
    const clock = new FakeClock();
    const followed = followLines(
      "printf 'one\\ntwo\\nthree\\n'",
      clock,
      new AbortController().signal,
      (line) => lines.push(line),
    );
    await eventually(() => clock.pending === 1, "a piece");
    await clock.advance(STEP_MS);
    await followed;
    assert.deepEqual(lines, ["one", "two", "three"]);
  });

  it("is killed when it writes a line without an end", async () => {
    const clock = new FakeClock();
    const followed = followLines("exec tr '\\0' x </dev/zero", clock, new AbortController().signal, () => {
      assert.fail("there is no line");
    });
    const ended = new AbortController();
    const refused = assert.rejects(followed, /it writes a line without an end/).finally(() => ended.abort());
    await eventually(async () => {
      await clock.advance(STEP_MS);
      return ended.signal.aborted;
    }, "the end of the command");
    await refused;
    assert.equal(clock.pending, 0);
  });
});
