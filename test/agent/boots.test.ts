import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import type { MadeFirmware } from "../fwup/archive.ts";
import { IDENTIFIER, setUpBoard, type TestBoard, type TestBoardOptions } from "./board.ts";

describe("after a boot", () => {
  let board: TestBoard;
  let v2: MadeFirmware;
  afterEach(async () => board.remove());

  const setUp = async (options?: TestBoardOptions): Promise<void> => {
    board = await setUpBoard(options);
    v2 = await board.firmware("2.0.0");
  };
  const joined = async (): Promise<void> => board.hub.until(() => board.hub.device(IDENTIFIER).online);
  const install = async (firmware: MadeFirmware): Promise<void> => {
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(firmware.path, firmware.meta));
    await board.saw(/the update is installed/);
  };
  const lastJoin = (): Record<string, unknown> =>
    board.hub.device(IDENTIFIER).joins.at(-1) as Record<string, unknown>;

  it("the hub is told of a fall-back, and the environment names the running slot again", async () => {
    await setUp();
    await board.setKernelCommandLine("fw_slot=a fw_validated=1");
    await board.start();
    await joined();
    const partitions = await board.partitionTable();
    await install(v2);
    await board.untilRebooted(1);
    assert.equal((await board.environment()).get("nerves_fw_active"), "b");
    // The boot loader gave up on b: a runs, while the environment still says b.
    await board.setPartitionTable(partitions);
    await board.setBootId("boot-2");
    await board.restart();
    await joined();
    const join = lastJoin();
    assert.deepEqual(join["meta"], { firmware_validated: true, firmware_auto_revert_detected: true });
    assert.equal(join["nerves_fw_uuid"], board.v1.uuid);

    const v3 = await board.firmware("3.0.0");
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v3.path, v3.meta));
    await board.untilRebooted(2);
    const environment = await board.environment();
    assert.equal(environment.get("b.nerves_fw_uuid"), v3.uuid);
    assert.equal(environment.get("a.nerves_fw_uuid"), board.v1.uuid);
  });

  it("firmware that the board fell back from is put off, and the hub is told why", async () => {
    await setUp();
    await board.setKernelCommandLine("fw_slot=a fw_validated=1");
    await board.start();
    await joined();
    await install(v2);
    await board.untilRebooted(1);
    await board.setBootId("boot-2");
    await board.restart();
    await joined();
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v2.path, v2.meta));
    const { payload } = await board.hub.waitFor(IDENTIFIER, ({ payload: sent }) => {
      return (sent as { status?: string }).status === "rescheduled";
    });
    assert.match(JSON.stringify(payload), /fell back from this firmware/);
  });

  it("an agent that is started again before the reboot sees to the reboot, and still is the old firmware", async () => {
    await setUp();
    await board.setKernelCommandLine("fw_slot=a fw_validated=1");
    await board.start();
    await joined();
    await install(v2);
    await board.untilRebooted(1);
    await board.forgetReboot();
    await board.restart();
    await joined();
    assert.equal(lastJoin()["nerves_fw_uuid"], board.v1.uuid);
    await board.saw(/its reboot is missing/);
    // Nothing was corrected: the new firmware still is the one to boot.
    assert.equal((await board.environment()).get("nerves_fw_active"), "b");
  });

  it("new firmware that is not proven good in time is rebooted out of", async () => {
    await setUp();
    await board.start();
    await joined();
    await install(v2);
    await board.untilRebooted(1);
    await board.restart({ validation: { command: "exit 1", deadline_s: 0.05 } });
    await board.untilRebooted(2);
    await board.saw(/not marked good in time/);
    assert.equal((await board.environment()).get("nerves_fw_validated"), "0");
  });

  it("new firmware in manual mode stays on trial until somebody says it is good", async () => {
    await setUp();
    await board.start();
    await joined();
    await install(v2);
    await board.untilRebooted(1);
    await board.restart({ validation: { mode: "manual" } });
    await joined();
    assert.deepEqual(lastJoin()["meta"], { firmware_validated: false, firmware_auto_revert_detected: false });
    assert.equal((await board.environment()).get("nerves_fw_validated"), "0");
  });

  it("a board whose environment can't be read still joins, without a firmware", async () => {
    await setUp();
    await board.start({
      firmware: { ...board.config().firmware, uboot_env_config: "/nowhere/fw_env.config" },
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

  it("reboots the board, which says so first", async () => {
    await setUp();
    board.hub.reboot(IDENTIFIER);
    await board.untilRebooted(1);
    assert.equal(board.hub.device(IDENTIFIER).received.at(-2)?.event, "rebooting");
  });

  it("gets an answer when it is a script, since none are run here", async () => {
    await setUp();
    board.hub.send(IDENTIFIER, "device", "scripts/run", { text: "IO.puts(1)", ref: "r1" });
    const { payload } = await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "scripts/run");
    assert.deepEqual(payload, {
      ref: "r1",
      result: "error",
      output: "scripts are not enabled on this board",
      return: "",
      reason: "not enabled",
    });
  });

  it("of any other kind, or none that makes sense, leaves the agent where it is", async () => {
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
