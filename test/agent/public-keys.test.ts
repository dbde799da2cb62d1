/** Which public keys verify firmware: those of the configuration or those of the hub. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { PublicKeys } from "../../src/agent/board.ts";
import { generateSigningKey } from "../fwup/archive.ts";
import { IDENTIFIER, setUpBoard } from "./board.ts";

describe("the keys that verify firmware", () => {
  it("are the hub's when none are pinned, and an empty list of the hub never clears them", () => {
    const keys = new PublicKeys({ publicKeys: [], trustHubKeys: true });
    assert.deepEqual(keys.usable(), []);
    keys.fromHub(["k1", "k2"]);
    keys.fromHub([]);
    assert.deepEqual(keys.usable(), ["k1", "k2"]);
    keys.fromHub(["k3"]);
    assert.deepEqual(keys.usable(), ["k3"]);
  });

  it("are only the pinned ones when there are any", () => {
    const keys = new PublicKeys({ publicKeys: ["mine"], trustHubKeys: true });
    keys.fromHub(["theirs"]);
    assert.deepEqual(keys.usable(), ["mine"]);
  });

  it("are none when the hub's are not trusted", () => {
    const keys = new PublicKeys({ publicKeys: [], trustHubKeys: false });
    keys.fromHub(["theirs"]);
    assert.deepEqual(keys.usable(), []);
  });

  it("may be more than the ten that fwup takes", async () => {
    const others = Array.from({ length: 12 }, () => generateSigningKey().publicKeyBase64);
    const board = await setUpBoard();
    try {
      await board.start({ firmware: { public_keys: [...others, board.signingKey.publicKeyBase64] } });
      const v2 = await board.firmware("2.0.0");
      board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
      await board.untilRebooted(1);
      assert.equal(board.hub.device(IDENTIFIER).statuses.at(-1)?.status, "completed");
    } finally {
      await board.remove();
    }
  });
});
