/** The kernel's watchdog; a named pipe stands for the device. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { KernelWatchdog } from "../../src/board/kernel-watchdog.ts";
import { failure } from "../identity/failure.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";
import { recordingLog } from "./recording-log.ts";

describe("the kernel's watchdog", () => {
  let root: string;
  let device: string;
  let clock: FakeClock;
  let lines: string[];
  let well: boolean;
  let reader: number;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "hublink-watchdog-"));
    device = join(root, "watchdog0");
    execFileSync("mkfifo", [device]); // takes bytes as the device does, and shows them
    reader = openSync(device, constants.O_RDONLY | constants.O_NONBLOCK);
    clock = new FakeClock();
    lines = [];
    well = true;
    await facts({ timeout: "15", identity: "Test Watchdog", nowayout: "0", bootstatus: "0" });
  });
  afterEach(async () => {
    closeSync(reader);
    await rm(root, { recursive: true });
    assert.equal(clock.pending, 0);
  });

  const facts = async (values: Readonly<Record<string, string>>): Promise<void> => {
    const folder = join(root, "sys/class/watchdog/watchdog0");
    await mkdir(folder, { recursive: true });
    for (const [name, value] of Object.entries(values)) await writeFile(join(folder, name), `${value}\n`);
  };
  const open = async (path = device): Promise<KernelWatchdog> =>
    KernelWatchdog.open({
      device: path,
      mayFeed: () => well,
      world: testWorld({ root, clock }),
      log: recordingLog(lines),
    });
  /** The bytes that were written since the last call; `undefined`: nothing, and it is still open. */
  const written = (): string | undefined => {
    const buffer = Buffer.alloc(100);
    try {
      return buffer.toString("latin1", 0, readSync(reader, buffer));
    } catch {
      return undefined;
    }
  };

  it("is armed by the first byte, then fed at a third of its timeout", async () => {
    const watchdog = await open();
    assert.equal(watchdog.name, `${device} (Test Watchdog), 15 s`);
    assert.equal(written(), "\0");
    await clock.advance(4999);
    assert.equal(written(), undefined);
    await clock.advance(1);
    assert.equal(written(), "\0");
    await clock.advance(15_000);
    assert.equal(written(), "\0\0\0");
    watchdog.stop();
  });

  it("is disarmed by the magic character when the agent is stopped on purpose", async () => {
    const watchdog = await open();
    written();
    watchdog.stop();
    assert.equal(written(), "V");
    assert.equal(written(), "", "and closed");
  });

  it("stays armed when the agent stops for a reboot, so that the shutdown can't hang", async () => {
    const watchdog = await open();
    written();
    watchdog.leaveArmed();
    assert.equal(written(), "\0");
    assert.equal(written(), "");
  });

  it("is not fed while the agent is not well", async () => {
    const watchdog = await open();
    written();
    well = false;
    await clock.advance(60_000);
    assert.equal(written(), undefined);
    well = true;
    await clock.advance(5000);
    assert.equal(written(), "\0");
    watchdog.stop();
  });

  it("is fed every second where its timeout is not known", async () => {
    await rm(join(root, "sys"), { recursive: true });
    const watchdog = await open();
    assert.equal(watchdog.name, `${device}, timeout not known`);
    await clock.advance(3000);
    assert.equal(written(), "\0\0\0\0");
    watchdog.stop();
  });

  it("logs that it can't be stopped, and that it reset the board", async () => {
    await facts({ nowayout: "1", bootstatus: "32" });
    const watchdog = await open();
    assert.match(watchdog.name, /, 15 s, can't be stopped$/);
    watchdog.stop();
    assert.ok(lines.includes(`warn the board was reset by this watchdog device=${device}`), lines.join());
    assert.match(lines.at(-1) ?? "", /can't be stopped: it resets the board unless the agent starts again/);
  });

  it("is known by its number behind /dev/watchdog and other links", async () => {
    const link = join(root, "hw-watchdog");
    await symlink(device, link);
    const watchdog = await open(link);
    assert.equal(watchdog.name, `${link} (Test Watchdog), 15 s`);
    watchdog.stop();
  });

  it("logs once that it can't be fed", async () => {
    const watchdog = await open();
    closeSync(reader);
    await clock.advance(20_000);
    assert.deepEqual(
      lines.filter((line) => line.startsWith("error")),
      [`error ${device} can't be fed: EPIPE: broken pipe, write`],
    );
    watchdog.stop();
    reader = openSync(device, constants.O_RDONLY | constants.O_NONBLOCK);
  });

  it("is named in the failure when it is missing, is not a device, or has no driver", async () => {
    await assert.rejects(open(join(root, "nothing")), failure("no-input", "nothing does not exist"));
    await writeFile(join(root, "file"), "");
    await assert.rejects(open(join(root, "file")), failure("config", "file is not a device"));
    closeSync(reader);
    await assert.rejects(open(), failure("unavailable", "there is no such watchdog; load its driver"));
    reader = openSync(device, constants.O_RDONLY | constants.O_NONBLOCK);
  });
});
