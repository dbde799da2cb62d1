/** What an agent that dies writes down for the next one. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { openCrashRecord, recordCrash } from "../../src/care/crash-record.ts";
import { recordingLog } from "../board/recording-log.ts";

const HOUR_MS = 3_600_000;

describe("the record of crashes", () => {
  let stateDir: string;
  let lines: string[];
  beforeEach(async () => {
    stateDir = await mkdtemp(join(tmpdir(), "hublink-crashes-"));
    lines = [];
  });
  afterEach(async () => rm(stateDir, { recursive: true }));
  const crash = (error: unknown, nowMs = 0): void =>
    recordCrash(error, {
      ...{ stateDir, nowMs, uptimeMs: 5000 },
      ...{ firmwareUuid: "uuid-1", agentVersion: "1.0.0" },
    });
  const open = async () => openCrashRecord(stateDir, recordingLog(lines));
  const unreported = async () => (await open()).unreported.map(({ reason }) => reason);
  const inode = async () => (await stat(join(stateDir, "crashes.json"))).ino;

  it("tells the next agent what happened, without secrets", async () => {
    crash(new TypeError("no https://u:hunter2@host/x?key=hunter2"), 1000);
    const [found] = (await open()).unreported;
    assert.equal(found?.reason, "TypeError: no https://…@host/x?…");
    assert.match(found.frames[0]?.file ?? "", /crash-record\.test\.ts$/);
    assert.deepEqual(
      [found.atMs, found.uptimeMs, found.firmwareUuid, found.agentVersion],
      [1000, 5000, "uuid-1", "1.0.0"],
    );
    assert.doesNotMatch(await readFile(join(stateDir, "crashes.json"), "utf8"), /hunter2/);
    assert.equal((await stat(join(stateDir, "crashes.json"))).mode & 0o777, 0o600);
  });

  it("writes the same crash once in an hour, so that a crash loop does not wear out the flash", async () => {
    const boom = (): Error => new Error("boom");
    crash(boom());
    const first = await inode();
    for (let n = 1; n < 60; n += 1) crash(boom(), n * 60_000);
    assert.equal(await inode(), first);
    crash(boom(), HOUR_MS);
    assert.deepEqual(await unreported(), ["Error: boom", "Error: boom"]);
  });

  it("keeps the last five, each of bounded size", async () => {
    for (let n = 0; n < 8; n += 1) crash(new Error(`${n} ${"x".repeat(100_000)}`), n);
    const reasons = await unreported();
    assert.deepEqual(
      reasons.map((reason) => reason.slice(0, 8)),
      ["Error: 3", "Error: 4", "Error: 5", "Error: 6", "Error: 7"],
    );
    assert.ok((await stat(join(stateDir, "crashes.json"))).size < 40_000);
  });

  it("forgets nothing until the hub has it, and then remembers that", async () => {
    crash(new Error("one"), 1);
    crash(new Error("two"), 2);
    const record = await open();
    const [one, two] = record.unreported;
    assert(one && two);
    await Promise.all([record.crashReported(one), record.kernelReported("dmesg-0 1 2")]);
    await record.settled();
    assert.deepEqual(await unreported(), ["Error: two"]);
    assert.ok((await open()).knows("dmesg-0 1 2"));
    assert.ok(!(await open()).knows("dmesg-1 1 2"));
    crash(new Error("three"), 3);
    assert.deepEqual(await unreported(), ["Error: two", "Error: three"], "a crash keeps the rest");
    assert.ok((await open()).knows("dmesg-0 1 2"));
  });

  it("starts anew over a damaged file, and says so", async () => {
    await writeFile(join(stateDir, "crashes.json"), '{"crashes":[{"reason":');
    assert.deepEqual(await unreported(), []);
    assert.match(lines.join(), /the record of crashes is damaged/);
    crash(new Error("boom"));
    assert.deepEqual(await unreported(), ["Error: boom"]);
  });
});
