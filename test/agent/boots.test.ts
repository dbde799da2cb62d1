/**
 * The agent after each kind of boot: new firmware on trial, a fall-back, a reboot that failed, or one that
 * nobody noted.
 */
import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import type { MadeFirmware } from "../fwup/archive.ts";
import { holdAfter } from "./held-download.ts";
import { IDENTIFIER, setUpBoard, type TestBoard, type TestBoardOptions } from "./board.ts";

describe("after a boot", () => {
  let board: TestBoard;
  let v2: MadeFirmware;
  /** The partition table as the board left the factory. */
  let factory: Buffer;
  afterEach(async () => board.remove());

  const setUp = async (options?: TestBoardOptions): Promise<void> => {
    board = await setUpBoard(options);
    v2 = await board.firmware("2.0.0");
    factory = await board.partitionTable();
  };
  const joined = async (): Promise<void> => board.hub.until(() => board.hub.device(IDENTIFIER).online);
  const install = async (firmware: MadeFirmware): Promise<void> => {
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(firmware.path, firmware.meta));
    await board.saw(/the update is installed/);
  };
  const lastJoin = (): Record<string, unknown> =>
    board.hub.device(IDENTIFIER).joins.at(-1) as Record<string, unknown>;

  /** A board whose boot script passes `kernel`, with 2.0.0 installed in slot b and the reboot asked for. */
  const setUpInstalled = async (kernel: string): Promise<void> => {
    await setUp();
    await board.setKernelCommandLine(kernel);
    await board.start();
    await joined();
    await install(v2);
    await board.untilRebooted(1);
    assert.equal((await board.environment()).get("nerves_fw_active"), "b");
  };

  /** The boot loader gives up on b: a runs, while the environment still names b. */
  const fallBack = async (): Promise<void> => {
    await board.setBootId("boot-2");
    await board.restart();
    await joined();
  };

  it("a fall-back is reported to the hub, and the environment names the running slot again", async () => {
    await setUpInstalled("fw_slot=a fw_validated=1");
    await board.setPartitionTable(factory);
    await fallBack();
    assert.deepEqual(lastJoin()["meta"], { firmware_validated: true, firmware_auto_revert_detected: true });
    assert.equal(lastJoin()["nerves_fw_uuid"], board.v1.uuid);

    const v3 = await board.firmware("3.0.0");
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v3.path, v3.meta));
    await board.untilRebooted(2);
    const environment = await board.environment();
    assert.equal(environment.get("b.nerves_fw_uuid"), v3.uuid);
    assert.equal(environment.get("a.nerves_fw_uuid"), board.v1.uuid);
  });

  it("firmware that the board fell back from is put off, and the hub gets the reason", async () => {
    await setUpInstalled("fw_slot=a fw_validated=1");
    await fallBack();
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v2.path, v2.meta));
    const { payload } = await board.hub.waitFor(IDENTIFIER, ({ payload: sent }) => {
      return (sent as { status?: string }).status === "rescheduled";
    });
    assert.match(JSON.stringify(payload), /fell back from this firmware/);
  });

  it("an agent that is restarted before the reboot makes the reboot, and reports the old firmware until then", async () => {
    await setUpInstalled(""); // nobody says which slot runs: the journal must
    await board.forgetReboot();
    await board.restart();
    await board.untilRebooted(2);
    await board.hub.until(() => board.hub.device(IDENTIFIER).joins.length === 2);
    assert.equal(lastJoin()["nerves_fw_uuid"], board.v1.uuid);
    // Nothing was corrected: the board still boots the new firmware next.
    assert.equal((await board.environment()).get("nerves_fw_active"), "b");
  });

  it("on a kernel without boot ids, a reboot that was asked for counts as made when the next agent starts", async () => {
    await setUp();
    await board.setBootId("");
    await board.start();
    await joined();
    await install(v2);
    await board.untilRebooted(1);
    await board.setKernelCommandLine("fw_slot=b fw_validated=0");
    await board.restart();
    await board.saw(/the running firmware is marked good/);
    assert.equal(lastJoin()["nerves_fw_uuid"], v2.uuid);
  });

  it("a board that is an image file on a computer counts as rebooted when the agent is restarted", async () => {
    await setUpInstalled("");
    await board.restart();
    await board.saw(/the running firmware is marked good/);
    assert.equal(lastJoin()["nerves_fw_uuid"], v2.uuid);
  });

  for (const kernel of ["", "fw_slot=a fw_validated=1"]) {
    it(`the next agent asks again for a reboot that had no effect (${kernel || "nothing names the running slot"})`, async () => {
      await setUpInstalled(kernel);
      // The agent must take this for a real disk, since no kernel boots from an image file.
      await board.restart({ firmware: { devpath: "/dev/null" } });
      await board.untilRebooted(2);
      await board.hub.until(() => board.hub.device(IDENTIFIER).joins.length === 2);
      assert.equal(lastJoin()["nerves_fw_uuid"], board.v1.uuid);
      assert.equal((await board.environment()).get("nerves_fw_active"), "b");
    });

    it(`the next agent waits before it asks again for a reboot that failed in every way (${kernel || "nothing names the running slot"})`, async () => {
      await setUpInstalled(kernel);
      const before = board.logged.length;
      await board.restartStranded({ firmware: { devpath: "/dev/null" } });
      await board.saw(/the last reboot failed; the next one waits .*3600/);
      await board.hub.until(() => board.hub.device(IDENTIFIER).joins.length === 2);
      assert.ok(!board.logged.slice(before).some((line) => line.includes("rebooting the board")));
    });

    it(`an update whose end was not noted waits for its reboot, and is not taken for a fall-back (${kernel || "nothing names the running slot"})`, async () => {
      await setUpInstalled(kernel);
      await board.forgetEnd();
      await board.restart();
      await board.untilRebooted(2);
      await board.hub.until(() => board.hub.device(IDENTIFIER).joins.length === 2);
      assert.equal(lastJoin()["nerves_fw_uuid"], board.v1.uuid);
      assert.deepEqual(lastJoin()["meta"], {
        firmware_validated: true,
        firmware_auto_revert_detected: false,
      });
      assert.equal((await board.environment()).get("nerves_fw_active"), "b");
    });
  }

  it("an update that was interrupted comes as soon as a board on trial is marked good", async () => {
    await setUp();
    await board.start();
    await joined();
    const hold = holdAfter(1000);
    const takeAway = board.hub.faults.add(hold);
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    await hold.held;
    takeAway();
    // The boot script found the environment damaged, and took its backup: the slot has to prove good once more.
    await board.setEnvironment({ nerves_fw_validated: "0" });
    await board.reboot();
    await board.untilRebooted(1);
    assert.equal((await board.environment()).get("b.nerves_fw_uuid"), v2.uuid);
    const { received, joins } = board.hub.device(IDENTIFIER);
    const words = received.slice(received.findLastIndex(({ event }) => event === "firmware_validated"));
    assert.deepEqual(
      words.flatMap(({ payload }) => (payload as { status?: string }).status ?? []),
      ["started", "completed"],
    );
    assert.equal(joins.length, 2, "nobody had to ask for it");
  });

  it("firmware that somebody installs by hand later is not taken for a fall-back", async () => {
    await setUpInstalled("fw_slot=a");
    // The board boots it, and its boot script has no trials: it counts as validated from the start.
    await board.setEnvironment({ nerves_fw_validated: "1" });
    await board.setKernelCommandLine("fw_slot=b");
    await board.setBootId("boot-2");
    await board.restart();
    await joined();
    await board.setEnvironment({ "b.nerves_fw_uuid": "by-hand" });
    await board.setBootId("boot-3");
    await board.restart();
    await joined();
    assert.equal(lastJoin()["nerves_fw_uuid"], "by-hand");
    assert.deepEqual(lastJoin()["meta"], { firmware_validated: true, firmware_auto_revert_detected: false });
  });

  it("the board reboots when new firmware is not proven good in time", async () => {
    await setUp();
    await board.start();
    await joined();
    await install(v2);
    await board.untilRebooted(1);
    await board.reboot({ validation: { command: "exit 1", deadline_s: 0.05 } });
    await board.untilRebooted(2);
    await board.saw(/not marked good in time/);
    assert.equal((await board.environment()).get("nerves_fw_validated"), "0");
  });

  it("new firmware in manual mode stays on trial until a person marks it good", async () => {
    await setUp();
    await board.start();
    await joined();
    await install(v2);
    await board.untilRebooted(1);
    await board.reboot({ validation: { mode: "manual" } });
    await joined();
    assert.deepEqual(lastJoin()["meta"], { firmware_validated: false, firmware_auto_revert_detected: false });
    assert.equal((await board.environment()).get("nerves_fw_validated"), "0");
  });

  it("a board whose environment can't be read still joins, without a firmware", async () => {
    await setUp();
    await board.start({
      firmware: { uboot_env_config: "/nowhere/fw_env.config" },
    });
    await joined();
    assert.equal(board.hub.device(IDENTIFIER).firmware, undefined);
    await board.saw(/no update can be installed: .*\/nowhere\/fw_env\.config/);
  });
});

describe("a message of the hub", () => {
  let board: TestBoard;
  afterEach(async () => board.remove());
  const setUp = async (options?: TestBoardOptions): Promise<void> => {
    board = await setUpBoard(options);
    await board.start();
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
  };

  it("to reboot reboots the board, after the hub has got the agent's answer", async () => {
    await setUp();
    board.hub.reboot(IDENTIFIER);
    await board.untilRebooted(1);
    assert.ok(board.hub.device(IDENTIFIER).received.some(({ event }) => event === "rebooting"));
  });

  it("that is a script is answered, even where scripts are not enabled", async () => {
    await setUp();
    board.hub.send(IDENTIFIER, "device", "scripts/run", { text: "IO.puts(1)", ref: "r1" });
    const { payload } = await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "scripts/run");
    assert.deepEqual(payload, {
      ref: "r1",
      result: "error",
      output: "",
      return: "scripts are not enabled on this board",
      reason: "scripts are not enabled on this board",
    });
  });

  it("that is unknown or malformed changes nothing", async () => {
    await setUp();
    const { hub } = board;
    for (const event of ["identify", "archive", "nosuch", "fwup_public_keys", "scripts/run", "update"]) {
      for (const payload of [null, 7, "x", [], { keys: 7 }, { keys: [] }]) {
        hub.send(IDENTIFIER, "device", event, payload);
      }
    }
    hub.sendRaw(IDENTIFIER, "not json");
    hub.sendRaw(IDENTIFIER, Buffer.from([1, 2, 3]));
    hub.reboot(IDENTIFIER);
    await board.untilRebooted(1);
    assert.equal(hub.device(IDENTIFIER).connections, 1);
    assert.deepEqual(hub.device(IDENTIFIER).crashes, []);
  });
});
