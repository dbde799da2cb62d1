/** Which public keys verify firmware: those of the configuration or those of the hub. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { PublicKeys } from "../../src/agent/board.ts";

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
});
