/** The board's own serial number, from each source in its order. */
import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { serialNumber } from "../../src/identity/identifier.ts";
import { eventually } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";

const PI_CPUINFO = `processor\t: 0
model name\t: ARMv6-compatible processor rev 7 (v6l)

Hardware\t: BCM2835
Revision\t: 9000c1
Serial\t\t: 00000000c3a1b2d4
Model\t\t: Raspberry Pi Zero W Rev 1.1
`;

describe("the board's serial number", () => {
  let root: string;
  const clock = new FakeClock();
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "hublink-board-"));
  });
  afterEach(async () => rm(root, { recursive: true }));

  const write = async (path: string, content: string): Promise<void> => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  };
  const boardid = async (script: string): Promise<void> => {
    await write("usr/bin/boardid", `#!/bin/sh\n${script}\n`);
    await chmod(join(root, "usr/bin/boardid"), 0o755);
  };

  it("comes from the device tree, cpuinfo, boardid and machine-id, in this order", async () => {
    assert.equal(await serialNumber(testWorld({ root, clock })), undefined);
    await write("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    assert.equal(await serialNumber(testWorld({ root, clock })), "0123456789abcdef0123456789abcdef");
    await boardid("echo 1234BBBK5678");
    assert.equal(await serialNumber(testWorld({ root, clock })), "1234BBBK5678");
    await write("proc/cpuinfo", PI_CPUINFO);
    assert.equal(await serialNumber(testWorld({ root, clock })), "00000000c3a1b2d4");
    await write("proc/device-tree/serial-number", "10000000c3a1b2d4\0");
    assert.equal(await serialNumber(testWorld({ root, clock })), "10000000c3a1b2d4");
  });

  it("is never a placeholder that other boards have too", async () => {
    await write("proc/device-tree/serial-number", "\0");
    await write("proc/cpuinfo", PI_CPUINFO.replace("c3a1b2d4", "00000000"));
    await boardid("echo 00000000; exit 0");
    await write("etc/machine-id", "uninitialized\n");
    assert.equal(await serialNumber(testWorld({ root, clock })), undefined);
  });

  it("does not wait for a boardid that hangs, and ignores one that fails", async () => {
    await write("etc/machine-id", "fallback\n");
    await boardid("echo wrong; exit 1");
    assert.equal(await serialNumber(testWorld({ root, clock })), "fallback");
    await boardid("echo wrong; sleep 1000");
    const serial = serialNumber(testWorld({ root, clock }));
    await eventually(() => clock.pending === 1, "boardid runs");
    await clock.advance(5000);
    assert.equal(await serial, "fallback");
  });
});
