/** Firmware and flags that somebody else writes while the agent runs: by ssh, from a stick, in an init script. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { rename, symlink } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import type { MadeFirmware } from "../fwup/archive.ts";
import { TAIL_BYTES } from "../../src/download/verify.ts";
import { IDENTIFIER, setUpBoard, type TestBoard, type TestBoardOptions } from "./board.ts";
import { holdAfter } from "./held-download.ts";

describe("firmware that somebody else installs", () => {
  let board: TestBoard;
  afterEach(async () => board.remove());

  const setUp = async (options?: TestBoardOptions): Promise<MadeFirmware[]> => {
    board = await setUpBoard(options);
    const made = [await board.firmware("2.0.0"), await board.firmware("3.0.0")];
    await board.start();
    await joined(1);
    return made;
  };
  const joined = async (times: number): Promise<void> =>
    board.hub.until(() => board.hub.device(IDENTIFIER).joins.length >= times);
  const lastJoin = (): Record<string, unknown> =>
    board.hub.device(IDENTIFIER).joins.at(-1) as Record<string, unknown>;
  const installByHand = ({ path }: MadeFirmware): void => {
    const { fwup } = board.config().firmware;
    execFileSync(fwup, ["-a", "-d", board.disk, "-i", path, "-t", "upgrade", "-q"]);
  };
  const push = async ({ path, meta }: MadeFirmware): Promise<void> =>
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(path, meta));
  /** How the update ended. */
  const ended = async (): Promise<{ status: string; reason?: string }> => {
    const { payload } = await board.hub.waitFor(IDENTIFIER, ({ event, payload: sent }) => {
      const { status = "" } = (sent ?? {}) as { status?: string };
      return event === "status_update" && /^(completed|failed|ignored|rescheduled)$/.test(status);
    });
    return payload as { status: string; reason?: string };
  };
  const describedSlots = async (): Promise<Record<string, string>> =>
    Object.fromEntries(
      [...(await board.environment())].filter(([name]) => /^[ab]\.|_(active|validated)$/.test(name)),
    );

  it("puts the hub's update off until it has been rebooted into, and keeps both slots as they are", async () => {
    const [v2, v3] = await setUp();
    assert.ok(v2 !== undefined && v3 !== undefined);
    installByHand(v2);
    const before = await describedSlots();
    await push(v3);
    assert.deepEqual(await ended().then(({ status, reason }) => [status, reason]), [
      "rescheduled",
      "an installed update waits for its reboot",
    ]);
    assert.deepEqual(await describedSlots(), before);
    assert.equal(before["a.nerves_fw_uuid"], board.v1.uuid);
  });

  it("leaves the board updatable after its boot loader gave up on it", async () => {
    const [v2, v3] = await setUp();
    assert.ok(v2 !== undefined && v3 !== undefined);
    installByHand(v2);
    // The boot script goes back to a, and the partition table still names b.
    await board.setKernelCommandLine("fw_slot=a fw_validated=1");
    await board.reboot();
    await joined(2);
    assert.deepEqual(
      [lastJoin()["nerves_fw_uuid"], lastJoin()["meta"]],
      [board.v1.uuid, { firmware_validated: true, firmware_auto_revert_detected: true }],
    );
    await push(v3);
    assert.equal((await ended()).status, "completed");
    const environment = await board.environment();
    assert.equal(environment.get("b.nerves_fw_uuid"), v3.uuid);
    assert.equal(environment.get("a.nerves_fw_uuid"), board.v1.uuid);
  });

  it("does not count as running before it was booted, and is not marked good", async () => {
    const [v2] = await setUp();
    assert.ok(v2 !== undefined);
    installByHand(v2);
    await board.restart(); // in the same boot, as on SIGHUP; nothing passes fw_slot=
    await joined(2);
    assert.equal(lastJoin()["nerves_fw_uuid"], board.v1.uuid);
    const { nerves_fw_active: active, nerves_fw_validated: validated } = await describedSlots();
    assert.deepEqual([active, validated], ["b", "0"]);
  });

  it("is on trial once it was booted, and marked good then", async () => {
    const [v2] = await setUp();
    assert.ok(v2 !== undefined);
    installByHand(v2);
    await board.reboot();
    await joined(2);
    assert.equal(lastJoin()["nerves_fw_uuid"], v2.uuid);
    await board.saw(/the running firmware is marked good/);
  });

  it("in the middle of an update never leads to 'completed': the running slot stays the one to boot", async () => {
    const [v2] = await setUp({ config: { update: { mode: "stream" } } });
    assert.ok(v2 !== undefined);
    const large = await board.firmware("3.0.0", { rootfs: { sizeBytes: 1_000_000, seed: "large" } });
    const hold = holdAfter(large.sizeBytes - TAIL_BYTES);
    board.hub.faults.add(hold);
    // Without the parts' checksums, which would have the first MiB wait for its proof.
    const release = await board.hub.publish(large.path, large.meta);
    board.hub.pushUpdate(IDENTIFIER, release, { partials_checksums: null });
    await hold.held;
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "fwup_progress"); // fwup has begun
    installByHand(v2);
    hold.goOn();
    const { status, reason } = await ended();
    assert.match(`${status}: ${reason}`, /^rescheduled: somebody else installed firmware into the slot/);
    const slots = await describedSlots();
    assert.equal(slots["nerves_fw_active"], "a");
    assert.equal(slots["b.nerves_fw_platform"], undefined);
    assert.equal(slots["a.nerves_fw_uuid"], board.v1.uuid);
  });

  it("and what others mark good is good, and the hub hears it", async () => {
    board = await setUpBoard();
    await board.setEnvironment({ nerves_fw_validated: "0" });
    await board.start({ validation: { mode: "manual" } });
    await joined(1);
    await board.setEnvironment({ nerves_fw_validated: "1" });
    board.hub.terminate(IDENTIFIER); // the next join reads the slots again; validation.test.ts has the deadline
    await board.saw(/somebody else marked the running firmware good/);
    await board.hub.until(() => board.hub.device(IDENTIFIER).validated === "validated");
  });

  it("on a disk that comes late is found at the next update", async () => {
    board = await setUpBoard();
    const v2 = await board.firmware("2.0.0");
    await rename(board.disk, `${board.disk}.late`);
    await board.start();
    await joined(1);
    await board.saw(/no update can be installed: .* does not exist/);
    await rename(`${board.disk}.late`, board.disk);
    await push(v2);
    assert.equal((await ended()).status, "completed");
  });

  it("on a disk that comes late is what the hub hears of, without an update; a late watchdog is armed", async () => {
    board = await setUpBoard();
    const device = join(board.dir, "watchdog");
    await rename(board.disk, `${board.disk}.late`);
    await board.start({ watchdog: { device } });
    await joined(1);
    assert.equal(lastJoin()["nerves_fw_uuid"], undefined);
    await board.saw(/a watchdog can't be used: .*does not exist/);
    await rename(`${board.disk}.late`, board.disk);
    await symlink("/dev/null", device);
    await board.saw(/the kernel watchdog is armed/);
    await joined(2);
    assert.equal(lastJoin()["nerves_fw_uuid"], board.v1.uuid);
  });
});

describe("firmware of the hub that is not wanted", () => {
  let board: TestBoard;
  afterEach(async () => board.remove());

  /** @param joins the board has joined so often by then */
  const answer = async (
    firmware: MadeFirmware,
    announced: Readonly<Record<string, string>>,
    joins = 1,
  ): Promise<unknown> => {
    const device = board.hub.device(IDENTIFIER);
    await board.hub.until(() => device.online && device.joins.length >= joins);
    const from = device.received.length;
    const release = await board.hub.publish(firmware.path, { ...firmware.meta, ...announced });
    board.hub.pushUpdate(IDENTIFIER, release);
    const { payload } = await board.hub.waitFor(
      IDENTIFIER,
      ({ payload: sent }) => {
        const { status = "" } = (sent ?? {}) as { status?: string };
        return /^(completed|failed|ignored|rescheduled)$/.test(status);
      },
      from,
    );
    const { status, reason } = payload as { status: string; reason?: string };
    return [status, reason];
  };

  it("because it is the one that runs is ignored: a replayed message reboots no board", async () => {
    board = await setUpBoard();
    await board.start();
    assert.deepEqual(await answer(board.v1, {}), ["ignored", "already running"]);
  });

  it("because the file is older than what runs is refused, whatever version was announced", async () => {
    board = await setUpBoard({ config: { update: { allow_downgrade: false } } });
    const old = await board.firmware("0.9.0");
    await board.start();
    const [status, reason] = (await answer(old, { version: "9.0.0" })) as [string, string];
    assert.equal(status, "failed");
    assert.match(reason, /version is "0\.9\.0", announced was "9\.0\.0"/);
    assert.equal((await board.environment()).get("nerves_fw_active"), "a");
  });

  it("because the file is older and no version was announced is ignored", async () => {
    board = await setUpBoard({ config: { update: { allow_downgrade: false } } });
    const old = await board.firmware("0.9.0");
    await board.start();
    assert.deepEqual(await answer(old, { version: "" }), [
      "ignored",
      "0.9.0 is older than 1.0.0, and update.allow_downgrade is false",
    ]);
    assert.equal((await board.environment()).get("nerves_fw_active"), "a");
  });

  it("because it is for another platform is refused with the way back untouched", async () => {
    board = await setUpBoard();
    const [v2, other] = [
      await board.firmware("2.0.0"),
      await board.firmware("3.0.0", { platform: "rpi4", product: "another" }),
    ];
    await board.start();
    // The slot to go back to.
    await answer(v2, {});
    await board.setKernelCommandLine("fw_slot=b fw_validated=1");
    await board.reboot();
    const before = await board.environment();
    const [status, reason] = (await answer(other, {}, 2)) as [string, string];
    assert.equal(status, "failed");
    assert.equal(reason, 'the firmware is not for this board: platform is "rpi4", the board\'s "rpi0"');
    assert.deepEqual(
      [...(await board.environment())].filter(([name]) => name.startsWith("a.")),
      [...before].filter(([name]) => name.startsWith("a.")),
    );
  });
});
