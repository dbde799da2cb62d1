/**
 * The journal of the installed firmware: it survives a restart, and a damaged file or a bad folder never
 * stops the agent.
 */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { openJournal, type InstalledFirmware } from "../../src/firmware/journal.ts";
import { recordingLog } from "../board/recording-log.ts";

describe("the journal", () => {
  let dir: string;
  let lines: string[];
  const entry: InstalledFirmware = {
    uuid: "u2",
    fromSlot: "a",
    bootId: "b1",
    rebootAsked: false,
    origin: "hub",
    atMs: 7,
  };
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-journal-"));
    lines = [];
  });
  afterEach(async () => rm(dir, { recursive: true }));
  const open = async (folder = dir) => openJournal(folder, recordingLog(lines));

  it("survives a restart of the agent, and makes its folder", async () => {
    const folder = join(dir, "not/there/yet");
    await (await open(folder)).update({ installed: entry });
    assert.deepEqual((await open(folder)).installed, entry);
    assert.deepEqual(lines, []);
  });

  it("is empty at first", async () => {
    assert.equal((await open()).installed, null);
    assert.deepEqual(lines, []);
  });

  for (const damage of [
    "",
    "{",
    "null",
    '{"format":2,"installed":null}',
    '{"format":1,"installed":{"uuid":7}}',
  ]) {
    it(`starts empty when its file holds ${damage === "" ? "nothing" : damage}`, async () => {
      await writeFile(join(dir, "journal.json"), damage);
      assert.equal((await open()).installed, null);
      assert.match(lines.join(), /damaged/);
    });
  }

  it("keeps its entries in memory when the folder can't be written, and logs that", async () => {
    await writeFile(join(dir, "file"), "");
    const journal = await open(join(dir, "file"));
    await journal.update({ installed: entry });
    assert.deepEqual(journal.installed, entry);
    assert.match(lines.join(), /can't be written/);
  });

  it("does not stop the agent when a folder has its name", async () => {
    await mkdir(join(dir, "journal.json"));
    assert.equal((await open()).installed, null);
    assert.match(lines.join(), /can't be read/);
  });
});
