/** What the board can tell of the reset before this boot. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { kernelCrashes, watchdogResets } from "../../src/board/kernel-crash.ts";
import { testWorld } from "../platform/world.ts";

/** As Linux 6.1 on a Raspberry Pi Zero writes it. */
const PANIC = `Panic#2 Part1
<6>[   12.301000] usb 1-1: new high-speed USB device
<1>[   14.512345] 8<--- cut here ---
<1>[   14.512400] Unable to handle kernel NULL pointer dereference at virtual address 00000000
<0>[   14.512500] Internal error: Oops: 5 [#1] ARM
<4>[   14.513000] PC is at pump_write+0x5c/0x90 [pump]
<4>[   14.513100] LR is at pump_open+0x5c/0x90
<4>[   14.514000]  pump_write [pump] from vfs_write+0xb4/0x2c0
<4>[   14.514100]  vfs_write from ksys_write+0x5c/0xc0
<0>[   14.515000] Kernel panic - not syncing: Fatal exception
`;

describe("the kernel's last words", () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "hublink-pstore-"));
    await mkdir(join(root, "sys/fs/pstore"), { recursive: true });
    await mkdir(join(root, "sys/class/watchdog/watchdog0"), { recursive: true });
  });
  afterEach(async () => rm(root, { recursive: true }));
  const record = async (name: string, text: string, atMs: number): Promise<void> => {
    const path = join(root, "sys/fs/pstore", name);
    await writeFile(path, text);
    await utimes(path, atMs / 1000, atMs / 1000);
  };
  const crashes = async () => kernelCrashes(testWorld({ root }));

  it("are the panic's reason, its calls and the end of the log", async () => {
    await record("dmesg-ramoops-0", PANIC, Date.UTC(2026, 4, 1));
    const [crash, ...rest] = await crashes();
    assert(crash);
    assert.deepEqual(rest, []);
    assert.equal(crash.kind, "panic");
    assert.equal(
      crash.reason,
      "Unable to handle kernel NULL pointer dereference at virtual address 00000000",
    );
    assert.deepEqual(crash.frames, [
      { module: "pump", function: "pump_write" },
      { module: "pump", function: "pump_write" },
      { module: "kernel", function: "vfs_write" },
    ]);
    assert.match(crash.message, /^Panic#2 Part1\nusb 1-1: new[^]*Fatal exception$/);
    assert.equal(crash.atMs, Date.UTC(2026, 4, 1));
  });

  it("are read in the words of a 64-bit kernel too", async () => {
    await record(
      "dmesg-ramoops-0",
      " panic+0x120/0x3a0\n foo+0x1/0x2 [bar]\nKernel panic - not syncing: x\n",
      1e12,
    );
    const [crash] = await crashes();
    assert.equal(crash?.reason, "Kernel panic - not syncing: x");
    assert.deepEqual(crash.frames, [
      { module: "kernel", function: "panic" },
      { module: "bar", function: "foo" },
    ]);
  });

  it("are the newest four, without what is no crash", async () => {
    for (let n = 0; n < 6; n += 1)
      await record(`dmesg-ramoops-${n}`, `Oops#1 Part1\nBUG: number ${n}\n`, 1e12 + n);
    await record("dmesg-ramoops-7", "Panic#1 Part2\nKernel panic - not syncing: the rest of it\n", 2e12);
    await record("dmesg-ramoops-8", "reboot: Restarting system\n", 2e12);
    await record("console-ramoops-0", "Kernel panic - not syncing: the console's copy\n", 2e12);
    assert.deepEqual(
      (await crashes()).map(({ kind, reason }) => `${kind} ${reason}`),
      ["oops BUG: number 2", "oops BUG: number 3", "oops BUG: number 4", "oops BUG: number 5"],
    );
  });

  it("are none on a board without pstore", async () => {
    await rm(join(root, "sys/fs"), { recursive: true });
    assert.deepEqual(await crashes(), []);
  });

  it("a watchdog that has reset the board is named", async () => {
    const facts = join(root, "sys/class/watchdog/watchdog0");
    await writeFile(join(facts, "bootstatus"), "0\n");
    assert.deepEqual(await watchdogResets(testWorld({ root })), []);
    await writeFile(join(facts, "bootstatus"), "32\n");
    assert.deepEqual(await watchdogResets(testWorld({ root })), ["watchdog0"]);
    await writeFile(join(facts, "identity"), "Broadcom BCM2835 Watchdog timer\n");
    assert.deepEqual(await watchdogResets(testWorld({ root })), ["Broadcom BCM2835 Watchdog timer"]);
  });
});
