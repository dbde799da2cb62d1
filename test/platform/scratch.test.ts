/** Temporary folders of an agent that was killed. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chown, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { silentLog } from "../../src/platform/log.ts";
import { makeScratch, removeLeftScratch } from "../../src/platform/scratch.ts";

describe("a temporary folder", () => {
  const before = process.env["TMPDIR"];
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-scratch-"));
    process.env["TMPDIR"] = dir;
  });
  afterEach(async () => {
    if (before === undefined) Reflect.deleteProperty(process.env, "TMPDIR");
    else process.env["TMPDIR"] = before;
    await rm(dir, { recursive: true });
  });
  /** The process id of a program that has ended. */
  const deadPid = (): number => spawnSync("true").pid;

  it("is removed by the next agent if the one that made it was killed, and only then", async () => {
    const used = basename(await makeScratch());
    const left = join(dir, `hublink-tmp-${deadPid()}-AbCdEf`);
    await mkdir(left);
    await writeFile(join(left, "script"), "true");
    await mkdir(join(dir, "other"));
    await removeLeftScratch(silentLog);
    assert.deepEqual((await readdir(dir)).sort(), [used, "other"].sort());
  });

  it("is left alone if somebody else made it, or if it is a link", async () => {
    const [target, link] = [join(dir, "target"), `hublink-tmp-${deadPid()}-link`];
    await mkdir(target);
    await writeFile(join(target, "kept"), "");
    await symlink(target, join(dir, link));
    const expected = ["target", link];
    if (process.getuid?.() === 0) {
      const foreign = `hublink-tmp-${deadPid()}-foreign`;
      await mkdir(join(dir, foreign));
      await chown(join(dir, foreign), 4321, 4321);
      expected.push(foreign);
    }
    await removeLeftScratch(silentLog);
    assert.deepEqual((await readdir(dir)).sort(), expected.sort());
    assert.deepEqual(await readdir(target), ["kept"]);
  });
});
