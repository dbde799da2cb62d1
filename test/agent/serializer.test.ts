/** MessagePack on a whole agent, and the way back to JSON. */
import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { connectToDaemon } from "../../src/control/client.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";

describe('hub.serializer = "msgpack"', () => {
  let board: TestBoard;
  afterEach(async () => board.remove());

  const start = async (vsns?: readonly string[]): Promise<void> => {
    board = await setUpBoard({ hub: vsns === undefined ? {} : { vsns } });
    await board.start({
      hub: { serializer: "msgpack" },
      extensions: { health: false },
    });
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
  };
  const spoken = async (): Promise<unknown> => {
    const daemon = await connectToDaemon({ path: board.config().state.controlSocket });
    const status = (await daemon?.request("status")) as { serializer: string };
    daemon?.close();
    return status.serializer;
  };

  it("an update is installed in MessagePack", async () => {
    await start(["3.0.0"]);
    assert.equal(await spoken(), "msgpack");
    const v2 = await board.firmware("2.0.0");
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v2.path, v2.meta));
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "rebooting");
    assert.deepEqual(
      board.hub.device(IDENTIFIER).statuses.map(({ status }) => status),
      ["received", "started", "completed"],
    );
  });

  it("the agent uses JSON with a hub that refuses MessagePack, and logs that", async () => {
    await start(["2.0.0"]);
    assert.equal(await spoken(), "json");
    await board.saw(/the hub refuses msgpack; speaking json from now on/);
    board.hub.disconnect(IDENTIFIER);
    await board.hub.until(() => board.hub.device(IDENTIFIER).connections === 2);
    assert.equal(board.logged.filter((line) => line.includes("the hub refuses msgpack")).length, 1);
  });
});
