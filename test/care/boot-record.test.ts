/** The record of the agent's own reboots, by which the next boot knows its reason. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { openBootRecord, type BootRecord } from "../../src/care/boot-record.ts";
import { recordingLog } from "../board/recording-log.ts";
import { testWorld } from "../platform/world.ts";

describe("the reason of the last boot", () => {
  let root: string;
  let lines: string[];
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "hublink-boots-"));
    await mkdir(join(root, "proc/sys/kernel/random"), { recursive: true });
    lines = [];
  });
  afterEach(async () => rm(root, { recursive: true }));
  const boot = async (id: string): Promise<BootRecord> => {
    await writeFile(join(root, "proc/sys/kernel/random/boot_id"), `${id}\n`);
    return openBootRecord(join(root, "state"), testWorld({ root }), recordingLog(lines));
  };

  it("is unknown at the first start", async () => {
    const { cause } = await boot("1");
    assert.deepEqual([cause, lines], [null, []]);
  });

  it("is the agent's reason, with the method that was tried last", async () => {
    const first = await boot("1");
    await first.note("the hub asked for it", null);
    await first.note("the hub asked for it", "reboot -f");
    const { cause } = await boot("2");
    assert.deepEqual(cause, {
      reason: "the hub asked for it",
      method: "reboot -f",
      at: "2026-01-01T00:00:00.000Z",
    });
    assert.match(
      lines.join(),
      /^warn the board was rebooted by the agent reason=the hub asked for it method=reboot -f/,
    );
  });

  it("is kept when the agent is restarted in the same boot", async () => {
    await (await boot("1")).note("the hub asked for it", "reboot");
    await boot("2");
    assert.equal((await boot("2")).cause?.reason, "the hub asked for it");
    assert.equal(lines.length, 1);
  });

  it("is not the agent's when the agent did not ask for a reboot", async () => {
    await (await boot("1")).note("the hub asked for it", "reboot");
    await boot("2");
    assert.equal((await boot("3")).cause, null);
    assert.match(lines.at(-1) ?? "", /^warn the board was started anew, not by the agent: a power cut/);
  });

  it("is unknown after the record was damaged", async () => {
    await boot("1");
    await writeFile(join(root, "state/reboot.json"), "{");
    assert.equal((await boot("2")).cause, null);
    assert.match(lines.join(), /^warn the record of the last reboot is damaged/);
  });

  it("is not stored when the state folder can't be written, but the agent runs", async () => {
    await writeFile(join(root, "state"), "a file");
    const record = await boot("1");
    await record.note("the hub asked for it", null);
    assert.match(lines.at(-1) ?? "", /^warn the record of this boot can't be kept: (ENOTDIR|EEXIST)/);
  });
});

describe("the trial of the firmware of this boot", () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "hublink-trial-"));
    await mkdir(join(root, "proc/sys/kernel/random"), { recursive: true });
  });
  afterEach(async () => rm(root, { recursive: true }));
  /** The record as an agent opens it that starts in boot `id`, `uptime` seconds after its begin. */
  const agentAt = async (id: string, uptime: number): Promise<BootRecord> => {
    await writeFile(join(root, "proc/sys/kernel/random/boot_id"), `${id}\n`);
    await writeFile(join(root, "proc/uptime"), `${uptime.toFixed(2)} 100.00\n`);
    return openBootRecord(join(root, "state"), testWorld({ root }), recordingLog([]));
  };

  it("goes on when the agent is restarted", async () => {
    assert.equal(await (await agentAt("1", 30)).trialMs(), 0);
    assert.equal(await (await agentAt("1", 95.5)).trialMs(), 65_500);
  });

  it("begins again with the next boot, and after the firmware was marked good", async () => {
    await (await agentAt("1", 30)).trialMs();
    const next = await agentAt("2", 40);
    assert.equal(await next.trialMs(), 0);
    await next.trialEnded();
    assert.equal(await (await agentAt("2", 500)).trialMs(), 0);
  });

  it("has no age where boots can't be told apart", async () => {
    await (await agentAt("", 30)).trialMs();
    assert.equal(await (await agentAt("", 60)).trialMs(), 0);
  });
});
