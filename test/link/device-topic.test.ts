/** The board's end of topic `device`: its joins, and which reports it sends, sends again or drops. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { DeviceTopic } from "../../src/hub/device-topic.ts";
import type { UnreadResult } from "../../src/hub/unread-statuses.ts";
import type { HubMessage, JoinState } from "../../src/hub/device-messages.ts";
import {
  createBench,
  type Bench,
  type Peer,
  type TestLink,
  type TinyServer,
  type WireFrame,
} from "./bench.ts";

const STATE: JoinState = {
  firmware: { nerves_fw_uuid: "uuid-1" },
  fwupVersion: "1.10.2",
  downloadingUuid: null,
  validated: true,
  autoRevertDetected: false,
};

describe("the board's side of topic device", () => {
  let bench: Bench;
  let server: TinyServer;
  let link: TestLink;
  let device: DeviceTopic;
  let messages: HubMessage[];
  let state: JoinState;
  let joins: number;
  /** The statuses for which `statusSent` was emitted. */
  let sent: string[];
  /** Results that an earlier agent left, and those that the next one would find. */
  let left: readonly UnreadResult[];
  let keptResults: readonly UnreadResult[];
  beforeEach(() => {
    left = [];
    keptResults = [];
    bench = createBench();
    messages = [];
    state = STATE;
    joins = 0;
    sent = [];
  });
  afterEach(async () => bench.end());

  const setUp = async (options: Parameters<Bench["serve"]>[0] = {}): Promise<void> => {
    server = await bench.serve(options);
    link = bench.link(server.url);
    device = new DeviceTopic({
      link,
      topic: "device",
      results: {
        unreported: left,
        keepUnreported: (results) => (keptResults = results),
      },
      log: bench.log,
    });
    device.setJoinState(() => state);
    device.on("message", (message) => {
      messages.push(message);
      bench.changed();
    });
    device.on("joined", () => {
      joins += 1;
      bench.changed();
    });
    device.on("statusSent", (status) => sent.push(status.status));
    link.start();
    await bench.until(() => server.peers[0]);
  };
  const joined = async (times = 1): Promise<Peer> => {
    await bench.until(() => joins === times);
    const peer = server.peers.at(-1);
    assert(peer);
    return peer;
  };
  /** Resolves when both sides have handled all that was sent before. */
  const settled = async (): Promise<void> => assert.equal(await link.confirm(1000), true);
  const statuses = (peer: Peer): unknown[] =>
    peer.frames.filter(([, , , event]) => event === "status_update").map(([, , , , payload]) => payload);
  const joinsOf = (peer: Peer): { currently_downloading_uuid: unknown }[] =>
    peer.frames
      .filter(([, , , event]) => event === "phx_join")
      .map(([, , , , payload]) => payload as { currently_downloading_uuid: unknown });
  /** Breaks the connection, and resolves to the next one. */
  const cut = async (peer: Peer): Promise<Peer> => {
    const { length } = server.peers;
    peer.webSocket.terminate();
    await bench.until(() => link.status.connection === "disconnected");
    await bench.advance(bench.waitMs(link));
    return bench.until(() => server.peers[length]);
  };

  it("joins with the board's state at that moment", async () => {
    await setUp();
    const first = await joined();
    assert.equal(joinsOf(first)[0]?.currently_downloading_uuid, null);
    state = { ...STATE, downloadingUuid: "uuid-2", validated: false };
    const second = await cut(first);
    await joined(2);
    assert.deepEqual(second.frames[0]?.[4], {
      nerves_fw_uuid: "uuid-1",
      device_api_version: "2.4.0",
      console_version: "2.0.0",
      fwup_version: "1.10.2",
      update_tool: "fwup",
      fwup_public_keys: "on_connect",
      archive_public_keys: "on_connect",
      currently_downloading_uuid: "uuid-2",
      meta: { firmware_validated: false, firmware_auto_revert_detected: false },
    });
  });

  describe("when the slot is marked good while the join is under way", () => {
    const validations = (peer: Peer): number =>
      peer.frames.filter(([, , , event]) => event === "firmware_validated").length;
    const joinWith = async (said: boolean, then: boolean): Promise<Peer> => {
      await setUp({ joins: false });
      state = { ...STATE, validated: said };
      const peer = await bench.until(() => server.peers[0]);
      const [joinRef, ref] = await bench.until(() => peer.frames[0]);
      state = { ...STATE, validated: then };
      peer.send(joinRef, ref, "device", "phx_reply", { status: "ok", response: {} });
      await joined();
      await settled();
      return peer;
    };

    it("says so after the reply: what was sent before it was lost", async () => {
      state = { ...STATE, validated: false };
      assert.equal(validations(await joinWith(false, true)), 1);
    });

    it("says nothing when the join has said so already, or it is still on trial", async () => {
      assert.equal(validations(await joinWith(true, true)), 0);
    });
  });

  it("sends a status once when the hub confirms that it has read it", async () => {
    await setUp();
    const first = await joined();
    device.reportStatus("uuid-2", { status: "received" });
    await settled();
    assert.deepEqual(statuses(first), [{ status: "received" }]);
    const second = await cut(first);
    await joined(2);
    await settled();
    assert.deepEqual(statuses(second), []);
    assert.equal(joinsOf(second)[0]?.currently_downloading_uuid, null);
  });

  it("joins again on the same connection when asked to, and repeats no status that the hub has read", async () => {
    await setUp();
    const peer = await joined();
    device.reportStatus("uuid-2", { status: "rescheduled", delay_for: 1000, reason: "later" });
    device.rejoin();
    assert.equal(await joined(2), peer);
    await settled();
    assert.deepEqual(
      joinsOf(peer).map((join) => join.currently_downloading_uuid),
      [null, null],
    );
    assert.deepEqual(sent, ["rescheduled"]);
  });

  it("asks 22: sends a status again at each join until the hub has read it, and names its update", async () => {
    await setUp({
      beats: false,
      onPeer(peer) {
        if (server.peers.length === 3) answerHeartbeats(peer);
      },
    });
    const first = await joined();
    device.reportStatus("uuid-2", { status: "started" });
    device.reportStatus("uuid-2", { status: "failed", reason: "no space" });
    await bench.until(() => statuses(first).length === 2);
    const reported = [{ status: "started" }, { status: "failed", reason: "no space" }];
    const second = await cut(first);
    await joined(2);
    assert.equal(joinsOf(second)[0]?.currently_downloading_uuid, "uuid-2");
    await bench.until(() => statuses(second).length === 2);
    assert.deepEqual(statuses(second), reported, "in their order");
    const third = await cut(second);
    await joined(3);
    await settled();
    assert.deepEqual(statuses(third), reported);
    const fourth = await cut(third);
    await joined(4);
    assert.deepEqual(statuses(fourth), []);
    assert.equal(joinsOf(fourth)[0]?.currently_downloading_uuid, null);
  });

  it("says when the join has ended, by a crash at the hub or with the connection", async () => {
    await setUp();
    const peer = await joined();
    let lost = 0;
    device.on("lost", () => {
      lost += 1;
      bench.changed();
    });
    const [joinRef] = peer.frames[0] ?? [];
    peer.send(joinRef ?? null, null, "device", "phx_error", {});
    await bench.until(() => lost === 1);
    await bench.advance(2000);
    await joined(2);
    await cut(peer);
    assert.equal(lost, 2);
  });

  it("keeps statuses while there is no hub, and sends them at the next join", async () => {
    await setUp({ joins: false });
    device.reportStatus("uuid-2", { status: "completed" });
    const [peer] = server.peers;
    const [join] = await bench.until(() => peer?.frames.length === 1 && peer.frames);
    assert(join && peer);
    peer.send(join[0], join[1], "device", "phx_reply", { status: "ok", response: {} });
    await joined();
    await bench.until(() => statuses(peer).length === 1);
    assert.deepEqual(statuses(peer), [{ status: "completed" }]);
  });

  it("keeps a result for the next agent until the hub has read it, and nothing else", async () => {
    await setUp({ beats: false });
    const first = await joined();
    const failed = { uuid: "uuid-2", status: { status: "failed", reason: "no space" } } as const;
    device.reportStatus("uuid-2", { status: "started" });
    assert.deepEqual(keptResults, []);
    device.reportStatus(failed.uuid, failed.status);
    assert.deepEqual(keptResults, [failed]);
    answerHeartbeats(first);
    await settled();
    await bench.until(() => keptResults.length === 0);
  });

  it("sends the result that an earlier agent left, and names its update in the join", async () => {
    left = [{ uuid: "uuid-2", status: { status: "failed", reason: "no space" } }];
    keptResults = left;
    await setUp();
    const peer = await joined();
    await settled();
    assert.equal(joinsOf(peer)[0]?.currently_downloading_uuid, "uuid-2");
    assert.deepEqual(statuses(peer), [{ status: "failed", reason: "no space" }]);
    await bench.until(() => keptResults.length === 0);
  });

  it("names the running update in the join, not an earlier one whose status is unread", async () => {
    await setUp({ beats: false });
    const first = await joined();
    device.reportStatus("uuid-2", { status: "failed", reason: "x" });
    state = { ...STATE, downloadingUuid: "uuid-3" };
    const second = await cut(first);
    await joined(2);
    assert.equal(joinsOf(second)[0]?.currently_downloading_uuid, "uuid-3");
  });

  it("keeps only the last sixteen statuses", async () => {
    await setUp({ beats: false });
    const first = await joined();
    for (let n = 1; n <= 40; n += 1) device.reportStatus("uuid-2", { status: "failed", reason: String(n) });
    const second = await cut(first);
    await joined(2);
    await bench.until(() => statuses(second).length >= 16);
    assert.deepEqual(
      statuses(second).map((status) => (status as { reason: string }).reason),
      Array.from({ length: 16 }, (_, n) => String(n + 25)),
    );
  });

  it("drops progress while there is no hub, since the next report says more", async () => {
    await setUp();
    const first = await joined();
    device.reportProgress(10, "downloading");
    await settled();
    assert.deepEqual(first.frames.at(-1)?.slice(2), [
      "device",
      "fwup_progress",
      { value: 10, stage: "downloading" },
    ]);
    first.webSocket.terminate();
    await bench.until(() => link.status.connection === "disconnected");
    device.reportProgress(20, "updating");
    device.send({ event: "rebooting", payload: {} });
    await bench.advance(1000);
    const second = await joined(2);
    device.reportProgress(30, "updating");
    await settled();
    assert.deepEqual(
      second.frames.map(([, , , event]) => event),
      ["phx_join", "fwup_progress"],
    );
    assert.deepEqual(second.frames[1]?.[4], { value: 30, stage: "updating" });
  });

  it("emits the hub's messages parsed; unknown ones are only logged", async () => {
    await setUp();
    const peer = await joined();
    peer.send(null, null, "device", "reboot", {});
    peer.send(peer.frames[0]?.[0] ?? null, null, "device", "scripts/run", {
      text: "1",
      ref: "connecting_code",
    });
    peer.send(null, null, "device", "presence_diff", {});
    peer.send(null, null, "device", "fwup_public_keys", { keys: 1 });
    await settled();
    assert.deepEqual(
      messages.map(({ type }) => type),
      ["reboot", "script", "malformed"],
    );
    assert(bench.lines.some((line) => line.includes("presence_diff: not known")));
  });

  it("sends the result of a script", async () => {
    await setUp();
    const peer = await joined();
    const payload = { ref: "r1", result: "error", output: "not enabled", return: "" } as const;
    device.send({ event: "scripts/run", payload });
    await settled();
    assert.deepEqual(peer.frames.at(-1)?.slice(2), ["device", "scripts/run", payload]);
  });

  it("accepts an update in the answer to the join, as old servers send it", async () => {
    await setUp({ joins: false });
    const [peer] = server.peers;
    const [join] = await bench.until(() => peer?.frames.length === 1 && peer.frames);
    assert(join && peer);
    const response = { update_available: true, firmware_url: "https://h/x.fw", firmware_meta: { uuid: "u" } };
    peer.send(join[0], join[1], "device", "phx_reply", { status: "ok", response });
    await joined();
    assert.deepEqual(
      messages.map(({ type }) => type),
      ["update"],
    );
  });

  it("flushes until the hub has read all or time is up, and at once without a hub", async () => {
    await setUp();
    const peer = await joined();
    device.send({ event: "rebooting", payload: {} });
    await device.flush(5000);
    assert.equal(peer.frames.at(-1)?.[3], "rebooting");
    peer.webSocket.pause();
    const flushed = device.flush(5000);
    await bench.advance(5000);
    await flushed;
    peer.webSocket.resume();
    peer.webSocket.terminate();
    await bench.until(() => link.status.connection === "disconnected");
    await device.flush(5000);
  });

  it("sends statuses again after it sent them on a join that the hub has lost", async () => {
    await setUp();
    const peer = await joined();
    peer.send("1", "1", "device", "phx_error", { reason: "channel_crash" }); // before the status reaches the hub
    device.reportStatus("uuid-2", { status: "completed" });
    await settled();
    await bench.advance(1000);
    await joined(2);
    await settled();
    assert.deepEqual(statuses(peer), [{ status: "completed" }, { status: "completed" }]);
  });

  it("does not take a status for read that was never sent", async () => {
    await setUp();
    const peer = await joined();
    peer.send("1", "1", "device", "phx_error", { reason: "channel_crash" });
    await settled();
    assert.equal(device.joined, false);
    device.reportStatus("uuid-2", { status: "completed" });
    await device.flush(5000);
    await bench.advance(1000);
    await joined(2);
    await settled();
    assert.deepEqual(statuses(peer), [{ status: "completed" }]);
  });

  it("asks again for the running update by joining as a board without one", async () => {
    await setUp();
    const peer = await joined();
    state = { ...STATE, downloadingUuid: "uuid-2" };
    device.reportStatus("uuid-2", { status: "started" });
    device.askForUpdate();
    await joined(2);
    await settled();
    assert.deepEqual(
      joinsOf(peer).map(({ currently_downloading_uuid: uuid }) => uuid),
      [null, null],
    );
    assert.equal(statuses(peer).length, 1, "a repeated status would keep the hub from sending the update");

    // Until the update comes, a join on the next connection names no update either; afterwards it names it.
    const second = await cut(peer);
    await joined(3);
    assert.equal(joinsOf(second)[0]?.currently_downloading_uuid, null);
    second.send(null, null, "device", "update", { firmware_meta: { uuid: "uuid-2" } });
    await bench.until(() => messages.length === 1 || undefined);
    const third = await cut(second);
    await joined(4);
    assert.equal(joinsOf(third)[0]?.currently_downloading_uuid, "uuid-2");
  });
});

function answerHeartbeats(peer: Peer): void {
  peer.webSocket.on("message", (data: Buffer) => {
    const [joinRef, ref, topic] = JSON.parse(data.toString("utf8")) as WireFrame;
    if (topic === "phoenix") peer.send(joinRef, ref, topic, "phx_reply", { status: "ok", response: {} });
  });
}
