/**
 * The agent against the page phoenix-channel.md of the hub whose dialect is `seed`: each test's name is a
 * line of that page.
 */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { DeviceMessage, HubMessage, UpdateStatus } from "../../src/hub/device-messages.ts";
import { DeviceTopic } from "../../src/hub/device-topic.ts";
import { seedDialect } from "../../src/hub/seed-dialect.ts";
import { type Bench, createBench, type Peer, type TestLink } from "../link/bench.ts";

/** In the order of the page, with its examples. */
describe('status_dialect = "seed", row by row of the page "Phoenix Channel"', () => {
  let bench: Bench;
  let link: TestLink;
  let device: DeviceTopic;
  let peer: Peer;
  let messages: HubMessage[];

  beforeEach(async () => {
    bench = createBench();
    messages = [];
    const server = await bench.serve();
    link = bench.link(server.url);
    device = new DeviceTopic({
      link,
      topic: "devices", // as in the page's examples; its list has `device`, which is the default of hub.topic
      dialect: seedDialect,
      log: bench.log,
    });
    device.setJoinState(() => ({
      firmware: {},
      fwupVersion: "1.0",
      downloadingUuid: null,
      validated: true,
      autoRevertDetected: false,
    }));
    device.on("message", (message) => messages.push(message));
    device.on("joined", () => bench.changed());
    link.start();
    peer = await bench.until(() => server.peers[0]);
    await bench.until(() => device.joined);
  });
  afterEach(async () => bench.end());

  /** Resolves when both sides have handled all that was sent so far. */
  const settled = async (): Promise<void> => assert.equal(await link.confirm(1000), true);
  const sent = async (message: DeviceMessage): Promise<unknown> => {
    device.send(message);
    await settled();
    return peer.frames.slice(2).map((frame): unknown => frame.slice(2));
  };
  const statusSent = async (status: UpdateStatus): Promise<unknown> => {
    device.reportStatus("uuid", status);
    await settled();
    return peer.frames.slice(2).map((frame): unknown => frame.slice(2));
  };

  describe("Message Structure", () => {
    it("a message is a list [join_ref, ref, topic, event, payload]", () => {
      assert.equal(peer.frames[0]?.length, 5);
    });
  });

  describe("Joining a Channel", () => {
    it('["arbitrary_join_ref", "ref1", "devices", "phx_join", {}]', () => {
      const [joinRef, ref, topic, event] = peer.frames[0] ?? [];
      assert.ok(typeof joinRef === "string" && typeof ref === "string");
      assert.deepEqual([topic, event], ["devices", "phx_join"]);
    });
  });

  describe("Server Events: device", () => {
    it("update: specifies that an update is available for the device", async () => {
      const firmware_meta = {
        uuid: "12345-6789-0129435",
        architecture: "arm",
        platform: "rpi0",
        product: "MyProduct",
        version: "1.1.10",
        author: "Ron Swanson",
        description: "baconator 3000",
        vcs_identifier: "some_version_control_sha",
        misc: "random data",
      };
      peer.send(null, "some-ref-1", "devices", "update", {
        update_available: true,
        deployment_id: 12,
        firmware_url: "https://some-url.com",
        firmware_meta,
      });
      await settled();
      const [message] = messages;
      assert(message?.type === "update");
      assert.equal(message.update.firmware_url, "https://some-url.com");
      assert.equal(message.update.deployment_id, 12);
      assert.deepEqual(message.update.firmware_meta, firmware_meta);
    });

    it("update: update_available is a boolean stating update availability", async () => {
      peer.send(null, "some-ref-1", "devices", "update", { update_available: false });
      await settled();
      assert.deepEqual(messages, [{ type: "no-update" }]);
    });

    it("reboot: payload is not used and can be ignored", async () => {
      peer.send(null, "some-ref-1", "devices", "reboot", {});
      peer.send(null, "some-ref-1", "devices", "reboot", "anything");
      await settled();
      assert.deepEqual(messages, [{ type: "reboot" }, { type: "reboot" }]);
    });

    for (const event of ["phx_err", "phx_close"]) {
      it(`${event}: the channel is joined again`, async () => {
        peer.send(null, "some-ref-1", "devices", event, event === "phx_err" ? { reason: "some reason" } : {});
        await settled();
        assert.equal(device.joined, false);
        await bench.advance(1000);
        await bench.until(() => device.joined);
      });
    }
  });

  describe("Client Events: device", () => {
    it('[…, "devices", "rebooting", {}]', async () => {
      assert.deepEqual(await sent({ event: "rebooting", payload: {} }), [["devices", "rebooting", {}]]);
    });

    it('[…, "devices", "fwup_progress", {"value": 42}]', async () => {
      const progress = { value: 42, stage: "updating" } as const;
      assert.deepEqual(await sent({ event: "fwup_progress", payload: progress }), [
        ["devices", "fwup_progress", { value: 42 }],
      ]);
    });

    const rows: readonly (readonly [word: string, meaning: string, status: UpdateStatus])[] = [
      ["idle", "waiting for an update", { status: "completed" }],
      ["idle", "waiting for an update", { status: "ignored", reason: "older" }],
      [
        "fwup_error",
        "error occurred in the fwup process",
        { status: "failed", reason: "fwup: the signature is wrong" },
      ],
      ["update_failed", "", { status: "failed", reason: "the download failed" }],
      ["update_rescheduled", "", { status: "rescheduled", delay_for: 300_000, reason: "busy" }],
      ["unknown", "generic status for unhandled states", { status: "received" }],
      ["unknown", "generic status for unhandled states", { status: "started" }],
    ];
    for (const [word, meaning, status] of rows) {
      it(`status_update: ${word}${meaning && ` - ${meaning}`} (${status.status})`, async () => {
        assert.deepEqual(await statusSent(status), [
          ["devices", "status_update", { status: word, state: word }],
        ]);
      });
    }

    it("status_update: idle - waiting for an update (after the join)", async () => {
      await settled();
      assert.deepEqual(
        peer.frames.slice(1).map((frame): unknown => frame.slice(2)),
        [["devices", "status_update", { status: "idle", state: "idle" }]],
      );
    });

    it("sends nothing that is not on the page, since that would crash the server's channel", async () => {
      device.send({ event: "firmware_validated", payload: {} });
      device.send({ event: "report_network_interface", payload: { interface: "eth0" } });
      assert.deepEqual(
        await sent({ event: "scripts/run", payload: { ref: "1", result: "error", output: "", return: "" } }),
        [],
      );
    });
  });
});
