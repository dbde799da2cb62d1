/** Updates that the device asks for, on a whole agent with hubs of both ages (protocol §7.2). */
import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { refuseDownload, refuseUpgrade } from "../hub/faults.ts";
import type { Release } from "../hub/releases.ts";
import type { HubApi } from "../hub/server.ts";
import { hublink } from "../cli/program.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";
import { controlPeer, type Message } from "./control-peer.ts";
import { holdAfter } from "./held-download.ts";

describe("updates that the device asks for", () => {
  let board: TestBoard;
  let release: Release;
  let config: string;
  afterEach(async () => board.remove());

  const setUp = async (api: HubApi): Promise<void> => {
    board = await setUpBoard({ hub: { api } });
    config = await board.writeConfig({ app: { reboot: "never" } });
    const v2 = await board.firmware("2.0.0");
    release = await board.hub.publish(v2.path, v2.meta);
    await board.start({ app: { reboot: "never" } });
    await board.hub.until(() => device().online);
  };
  const device = () => board.hub.device(IDENTIFIER);
  const command = async (...args: string[]) => hublink(["update", ...args, "--config", config]);
  const asked = (): unknown[] =>
    device()
      .received.map(({ event }) => event)
      .filter((event) => /_update|_mode/.test(String(event)) && event !== "status_update");

  it("the board takes over, sees what is there, and installs it when it wants to", async () => {
    await setUp("2.4");
    const refused = await command("--mode", "device-managed");
    assert.equal(refused.code, 77);
    assert.match(refused.stderr, /did not take the mode device_managed: it is automatic, and boards may not/);

    const shown = async (): Promise<string> => (await hublink(["status", "--config", config])).stdout;
    assert.match(await shown(), /^ +the hub starts its updates$/m);
    board.hub.manageUpdates(IDENTIFIER, { mode: "automatic", allowed: true });
    assert.match(await shown(), /^ +the hub starts its updates; the board may take over$/m);
    const chosen = await command("--mode", "device-managed");
    assert.deepEqual([chosen.code, chosen.stdout], [0, "this board starts its own updates from now on\n"]);
    assert.equal((await command("--check")).stdout, "the hub has no update for this board\n");
    const none = await command();
    assert.deepEqual([none.code, none.stderr], [1, "hublink: the hub sends no update: no_update\n"]);

    board.hub.deploy(release);
    board.hub.offer();
    assert.equal((await command("--check")).stdout, "demo-board 2.0.0 is there for this board\n");
    assert.match(await shown(), /^ +the board starts its updates$/m);

    board.hub.manageUpdates(IDENTIFIER, { mode: "device_managed", allowed: true, busyMinutes: 5 });
    const busy = await command();
    assert.equal(busy.code, 0, busy.stderr);
    assert.match(busy.stdout, /^the hub is busy: busy; the daemon asks again in 5 m 00 s\n$/);
    assert.deepEqual(device().statuses, [], "nothing has come by itself");
  });

  it("the command installs at once, and says how it ends", async () => {
    await setUp("2.4");
    board.hub.manageUpdates(IDENTIFIER, { mode: "device_managed", allowed: true });
    board.hub.deploy(release);
    for (const times of ["first", "again, before the reboot"]) {
      const done = await command();
      assert.equal(done.code, 0, `${times}: ${done.stderr}`);
      assert.match(done.stdout, /^installed 2\.0\.0; hublink reboot starts it$/m);
      assert.equal((await board.environment()).get("b.nerves_fw_uuid"), release.meta.uuid);
    }
    assert.equal(board.hub.downloads.length, 1);
  });

  it("an application learns of the mode, and picks the moment", async () => {
    await setUp("2.4");
    const app = await controlPeer(board.config().state.controlSocket, { subscribe: ["update_mode"] });
    try {
      assert.equal((await app.next())["type"], "welcome");
      board.hub.manageUpdates(IDENTIFIER, { mode: "device_managed", allowed: true });
      const event = await app.next();
      const managed = { mode: "device_managed", managed_updates_allowed: true };
      assert.deepEqual([event["event"], event["payload"]], ["update_mode", managed]);
      board.hub.deploy(release);
      board.hub.disconnect(IDENTIFIER);
      await board.hub.until(() => device().joins.length === 2);
      assert.deepEqual(((await app.request("status"))["result"] as Message)["update_mode"], managed);
      await app.request("update_request");
      await board.hub.until(() => device().statuses.at(-1)?.status === "completed");
    } finally {
      await app.close();
    }
  });

  it("a hub that is busy is asked again when it said, and not sooner", async () => {
    const clock = new FakeClock();
    // No answer on its way may count as a missed heartbeat while the clock moves.
    board = await setUpBoard({ hub: { api: "2.4" }, clock, config: { hub: { heartbeat_s: 3600 } } });
    const v2 = await board.firmware("2.0.0");
    await board.start();
    await board.hub.until(() => device().online);
    const busy = { mode: "device_managed", allowed: true, busyMinutes: 5 } as const;
    board.hub.manageUpdates(IDENTIFIER, busy);
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    const app = await controlPeer(board.config().state.controlSocket, {});
    try {
      await app.next();
      const answer = { granted: false, reason: "busy", delay_s: 300 };
      assert.deepEqual((await app.request("update_request"))["result"], answer);
      board.hub.manageUpdates(IDENTIFIER, { mode: "device_managed", allowed: true });
      await clock.advance(5 * 60_000);
      await app.request("status"); // what was sent before has been read
      assert.deepEqual(asked(), ["request_update"]);
      await clock.advance(10_000);
      await board.hub.until(() => device().statuses.at(-1)?.status === "completed");
      assert.deepEqual(asked(), ["request_update", "request_update"]);
    } finally {
      await app.close();
    }
  });

  it("in the mode off nothing comes but what an operator sends", async () => {
    await setUp("2.4");
    board.hub.manageUpdates(IDENTIFIER, { mode: "off", allowed: true });
    board.hub.deploy(release);
    const refused = await command();
    assert.deepEqual(
      [refused.code, refused.stderr],
      [1, "hublink: the hub sends no update: updates_disabled\n"],
    );
    const stays = await command("--mode", "automatic");
    assert.equal(stays.code, 77);
    assert.match(stays.stderr, /its updates are switched off there/);
    board.hub.pushUpdate(IDENTIFIER, release);
    await board.hub.until(() => device().statuses.at(-1)?.status === "completed");
  });

  it("a fresh URL is asked for, which leaves the update under way at the hub", async () => {
    await setUp("2.4");
    const download = holdAfter(100_000);
    board.hub.faults.add(download, 1);
    board.hub.pushUpdate(IDENTIFIER, release); // older hubs would lose it by a join
    await download.held;
    board.hub.faults.add(refuseDownload(403), 1);
    download.breakOff();
    await board.hub.until(() => device().statuses.at(-1)?.status === "completed");
    assert.deepEqual(asked(), ["request_update"]);
    assert.equal(device().joins.length, 1);
  });

  it("with an older hub the commands say why they can't", async () => {
    await setUp("2.3");
    assert.deepEqual(asked(), []);
    const status = await hublink(["status", "--config", config]);
    assert.doesNotMatch(status.stdout, /starts its updates/);
    const app = await controlPeer(board.config().state.controlSocket, {});
    try {
      await app.next();
      const answer = await app.request("update_mode");
      assert.equal((answer["error"] as Message)["failure"], "hub_unanswered");
    } finally {
      await app.close();
    }
    board.hub.faults.add(refuseUpgrade(503));
    board.hub.terminate(IDENTIFIER);
    await board.saw(/refused with 503/);
    const { code, stderr } = await command();
    assert.deepEqual([code, stderr], [69, "hublink: the hub is not connected\n"]);
  });
});
