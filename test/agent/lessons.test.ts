/** Faults that other agents had, tried on a whole agent of ours; docs/lessons.md has the whole list. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { writeArchive } from "../fwup/archive.ts";
import { createBlake2b } from "../fwup/blake2b.ts";
import { DEFAULT_LAYOUT } from "../fwup/layout.ts";
import { firmwareConf } from "../fwup/meta-conf-text.ts";
import type { DeviceRecord } from "../hub/device-record.ts";
import { dropFrames, refuseDownload } from "../hub/faults.ts";
import { scriptedFwup } from "../firmware/fwups.ts";
import { IDENTIFIER, setUpBoard, type TestBoard, type TestBoardOptions } from "./board.ts";

describe("a lesson of other agents", () => {
  let board: TestBoard;
  afterEach(async () => board.remove());

  const setUp = async (options?: TestBoardOptions): Promise<DeviceRecord> => {
    board = await setUpBoard(options);
    await board.start();
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    return board.hub.device(IDENTIFIER);
  };
  const failed = async (): Promise<string> => {
    const { payload } = await board.hub.waitFor(
      IDENTIFIER,
      ({ payload: sent }) => (sent as { status?: string }).status === "failed",
    );
    return (payload as { reason: string }).reason;
  };

  it("asks 13: a delta for another base fails with its reason, and nothing else is fetched instead", async () => {
    const device = await setUp();
    const result = Buffer.from("wxy0123456zzzzzzzzz");
    const about = { product: "demo-board", description: "", version: "2.0.0", author: "" };
    const target = { platform: "rpi0", architecture: "arm", vcs_identifier: "" };
    const hash = await createBlake2b();
    hash.update(result);
    const blake2b = hash.digest().toString("hex");
    const conf = firmwareConf({ ...about, ...target }, { sizeBytes: result.length, blake2b }, DEFAULT_LAYOUT);
    const path = join(board.dir, "delta.fw");
    const delta = {
      name: "data/rootfs.img",
      sizeBytes: DELTA.length,
      pieces: () => [DELTA],
      compression: "stored",
    } as const;
    const { uuid } = await writeArchive(path, Buffer.from(conf), board.signingKey.privateKey, [delta]);
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(path, { ...about, ...target, uuid }));
    assert.match(await failed(), /^fwup error: .*(xdelta|blake2b)/);
    assert.equal(board.hub.downloads.length, 1);
    assert.equal(device.inFlight, undefined);
    assert.equal((await board.environment()).get("nerves_fw_active"), "a");
  });

  it("asks 16: an agent that gave up on one update takes the next one, without a restart", async () => {
    const device = await setUp({ config: { update: { retry: { delay_s: 0.001, attempts: 2 } } } });
    const off = board.hub.faults.add(refuseDownload(503));
    const [v2, v3] = [await board.firmware("2.0.0"), await board.firmware("3.0.0")];
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v2.path, v2.meta));
    assert.match(await failed(), /no further in 2 attempts/);
    off();
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v3.path, v3.meta));
    await board.untilRebooted(1);
    assert.equal(device.statuses.at(-1)?.status, "completed");
    assert.equal((await board.environment()).get("b.nerves_fw_uuid"), v3.uuid);
  });

  it("asks 26: heartbeats go on while fwup is slow and the socket flaps, and the last socket gets the result", async () => {
    const device = await setUp({
      config: { hub: { heartbeat_s: 0.3, reconnect: { min_s: 0.01, max_s: 0.05 } } },
    });
    const gate = join(board.dir, "gate");
    execFileSync("mkfifo", [gate]);
    const { fwup } = board.config().firmware;
    // Reads no byte of the firmware until the gate is opened.
    const slow = await scriptedFwup(
      board.dir,
      `case "$*" in *"--task upgrade"*) { cat ${gate}; cat; } | exec ${fwup} "$@" ;; *) exec ${fwup} "$@" ;; esac`,
    );
    await board.restart({ firmware: { fwup: slow } });
    const v2 = await board.firmware("2.0.0");
    const release = await board.hub.publish(v2.path, v2.meta);
    board.hub.deploy(release);
    await board.saw(/from=clearing event=cleared/);
    // A status whose socket closed before the hub answered is sent again.
    const words = (): string[] => [...new Set(device.statuses.map(({ status }) => status))];
    const heartbeats = (): number => device.received.filter(({ topic }) => topic === "phoenix").length;
    for (let flaps = 0; flaps < 3; flaps += 1) {
      const joins = device.joins.length;
      board.hub.terminate(IDENTIFIER);
      await board.hub.until(() => device.joins.length > joins && device.online);
      const join = device.joins.at(-1) as { currently_downloading_uuid: unknown };
      assert.equal(join.currently_downloading_uuid, release.meta.uuid);
      const beats = heartbeats();
      await board.hub.until(() => heartbeats() > beats + 1);
    }
    assert.deepEqual(words(), ["received", "started"]);
    await writeFile(gate, "");
    await board.untilRebooted(1);
    assert.deepEqual(words(), ["received", "started", "completed"]);
  });

  it("asks 21: the hub gets fwup's own words marked as fwup's, and no progress is left open", async () => {
    const device = await setUp();
    const v2 = await board.firmware("2.0.0");
    await board.setEnvironment({ nerves_fw_validated: "0" }); // which only fwup's own tasks look at from here on
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v2.path, v2.meta));
    assert.match(await failed(), /^fwup error: Running firmware is not validated/);
    assert.equal(device.inFlight, undefined);
  });

  it("asks 39: firmware is good even when its report to the hub is lost", async () => {
    await setUp();
    const v2 = await board.firmware("2.0.0");
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v2.path, v2.meta));
    await board.untilRebooted(1);
    // After the join, the hub gets nothing that the new firmware sends.
    board.hub.faults.add({ name: "drop all but joins", incoming: ({ event }) => event !== "phx_join" });
    await board.reboot();
    await board.saw(/the running firmware is marked good/);
    assert.equal((await board.environment()).get("nerves_fw_validated"), "1");
    assert.notEqual(board.hub.device(IDENTIFIER).validated, "validated");
  });

  it("asks 40: a hub that went away does not hold up the reboot into new firmware", async () => {
    const device = await setUp();
    const v2 = await board.firmware("2.0.0");
    const release = await board.hub.publish(v2.path, v2.meta);
    board.hub.pushUpdate(IDENTIFIER, release);
    await board.hub.until(() => device.statuses.some(({ status }) => status === "started"));
    board.hub.faults.add(dropFrames());
    await board.untilRebooted(1);
    assert.equal((await board.environment()).get("nerves_fw_active"), "b");
    assert.ok(device.statuses.every(({ status }) => status !== "completed"));
  });
});

/** RFC 3284: 19 bytes, made from the ten digits that have to stand at the start of the base. */
const DELTA = Buffer.from("d6c3c40000010a001013000405027778797a0417000524" + "0001", "hex");
