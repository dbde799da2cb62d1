import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { IDENTIFIER, setUpBoard, type TestBoard, type TestBoardOptions } from "./board.ts";

describe("an update from the hub", () => {
  let board: TestBoard;
  const setUp = async (options?: TestBoardOptions): Promise<void> => {
    board = await setUpBoard(options);
  };
  afterEach(async () => board.remove());

  it("is installed in the other slot, rebooted into, joined as and validated", async () => {
    await setUp();
    const v2 = await board.firmware("2.0.0");
    const release = await board.hub.publish(v2.path, v2.meta);
    const agent = await board.start();
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    board.hub.deploy(release);
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "rebooting");

    const device = board.hub.device(IDENTIFIER);
    assert.deepEqual(
      device.statuses.map(({ status }) => status),
      ["received", "started", "completed"],
    );
    const environment = await board.environment();
    assert.equal(environment.get("nerves_fw_active"), "b");
    assert.equal(environment.get("b.nerves_fw_uuid"), v2.uuid);
    assert.equal(environment.get("nerves_fw_validated"), "0");

    await board.untilRebooted(1);
    await agent.stop();
    await board.start();
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "firmware_validated");
    assert.equal(device.firmware?.["uuid"], v2.uuid);
    assert.deepEqual(device.updated, [v2.uuid]);
    assert.equal((await board.environment()).get("nerves_fw_validated"), "1");
    assert.deepEqual(device.crashes, []);
  });
});
