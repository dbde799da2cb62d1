/** The hub's updates over restarts of the agent: each goes on by itself, and its result reaches the hub. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { eventually } from "../eventually.ts";
import { refuseUpgrade } from "../hub/faults.ts";
import type { Release } from "../hub/releases.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";
import { holdAfter } from "./held-download.ts";

const WRONG_CHECKSUM = { checksum: "0".repeat(64), partials_checksums: null };

describe("an agent that is restarted", () => {
  let board: TestBoard;
  let release: Release;
  beforeEach(async () => {
    board = await setUpBoard();
    const v2 = await board.firmware("2.0.0");
    release = await board.hub.publish(v2.path, v2.meta);
    await board.start();
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
  });
  afterEach(async () => board.remove());

  const words = (): string[] => board.hub.device(IDENTIFIER).statuses.map(({ status }) => status);
  const offerFile = (): string => join(board.dir, "state/offer.json");
  const namedInJoins = (): unknown[] =>
    board.hub
      .device(IDENTIFIER)
      .joins.map((payload) => (payload as Record<string, unknown>)["currently_downloading_uuid"]);
  /** Sends an update that no deployment made, and waits until it is in the middle of its download. */
  const interruptible = async (
    overrides: Readonly<Record<string, unknown>> = {},
  ): Promise<ReturnType<typeof holdAfter>> => {
    const download = holdAfter(100_000);
    board.hub.faults.add(download, 1);
    board.hub.pushUpdate(IDENTIFIER, release, overrides);
    await download.held;
    return download;
  };

  it("goes on with an update that the hub sends only once, and the hub hears of one attempt", async () => {
    await interruptible();
    await board.restart();
    await board.untilRebooted(1);
    await board.hub.until(() => words().at(-1) === "completed");
    assert.deepEqual(words(), ["received", "started", "started", "completed"]);
    assert.deepEqual(namedInJoins(), [null, release.meta.uuid]);
    assert.equal((await board.environment()).get("b.nerves_fw_uuid"), release.meta.uuid);
    await eventually(() => !existsSync(offerFile()), "the signed URL is kept no longer");
  });

  it("has nothing to go on with once the update has failed", async () => {
    const download = await interruptible(WRONG_CHECKSUM);
    download.goOn();
    await board.hub.until(() => words().at(-1) === "failed");
    await eventually(() => !existsSync(offerFile()), "the next agent finds nothing to go on with");
  });

  it("tells the hub of a failure that the line kept from it", async () => {
    const download = await interruptible(WRONG_CHECKSUM);
    const noHub = board.hub.faults.add(refuseUpgrade(503));
    board.hub.terminate(IDENTIFIER);
    await board.saw(/refused with 503/);
    download.goOn();
    await board.saw(/the update is failed/);
    assert.deepEqual(words(), ["received", "started"]);
    noHub();
    await board.restart();
    await board.hub.until(() => words().at(-1) === "failed");
    assert.equal(namedInJoins().at(-1), release.meta.uuid);
    await board.restart();
    await board.hub.until(() => namedInJoins().length === 3);
    assert.deepEqual(words(), ["received", "started", "failed"], "it is told once");
  });

  it("takes another update of the hub in place of the one it had begun", async () => {
    await interruptible();
    const v3 = await board.firmware("3.0.0");
    const other = await board.hub.publish(v3.path, v3.meta);
    board.hub.pushUpdate(IDENTIFIER, other);
    await board.saw(/another update waits/);
    await board.restart();
    await board.untilRebooted(1);
    assert.equal((await board.environment()).get("b.nerves_fw_uuid"), v3.uuid);
  });
});
