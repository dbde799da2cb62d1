/** Files of state: a damaged one is replaced and never stops the agent. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import * as v from "valibot";
import { StateFile } from "../../src/platform/state-file.ts";
import { recordingLog } from "../board/recording-log.ts";

const Counter = v.object({ count: v.number() });

describe("a state file", () => {
  let dir: string;
  let path: string;
  let lines: string[];
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-state-"));
    path = join(dir, "state/counter.json");
    lines = [];
  });
  afterEach(async () => rm(dir, { recursive: true }));
  const open = (): StateFile<typeof Counter> =>
    new StateFile(path, Counter, "the counter", recordingLog(lines));

  it("keeps its content for the next start, readable by its owner only", async () => {
    await open().write({ count: 1 });
    await open().write({ count: 2 });
    assert.deepEqual(await open().read(), { count: 2 });
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(lines, []);
  });

  it("is empty without a warning before the first write", async () => {
    assert.equal(await open().read(), undefined);
    assert.deepEqual(lines, []);
  });

  for (const [what, text] of [
    ["empty", ""],
    ["cut", '{"count": '],
    ["of another shape", '{"count": "two"}'],
    ["full of zeros", "\0".repeat(512)],
  ] as const) {
    it(`that is ${what} is replaced, with a warning`, async () => {
      await mkdir(join(dir, "state"));
      await writeFile(path, text);
      assert.equal(await open().read(), undefined);
      assert.match(lines.join("\n"), /^warn the counter is damaged; starting a new one/);
      await open().write({ count: 3 });
      assert.deepEqual(await open().read(), { count: 3 });
    });
  }

  it("that can't be read is left out, with the reason in the log", async () => {
    await mkdir(path, { recursive: true });
    assert.equal(await open().read(), undefined);
    assert.match(lines.join("\n"), /^warn the counter can't be read: EISDIR/);
  });

  it("that can't be written fails with the file system's error", async () => {
    await writeFile(join(dir, "state"), "in the way");
    await assert.rejects(open().write({ count: 1 }), { code: "EEXIST" });
  });
});
