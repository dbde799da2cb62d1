/** The stand-in hub's rules, each in a test: its record of a device, deployments, crashes, and faults. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { FakeClock } from "../platform/fake-clock.ts";
import { connect, type RawDevice } from "./client.ts";
import { isMap } from "./crash.ts";
import {
  acceptThenClose,
  dropFrames,
  flap,
  garbageFrame,
  redirectUpgrade,
  refuseUpgrade,
  swallowHeartbeats,
} from "./faults.ts";
import { signNh1 } from "./nh1.ts";
import type { FirmwareMeta, Release } from "./releases.ts";
import { open } from "./replay.ts";
import { startHub, type Hub } from "./server.ts";

const PRODUCT = { key: "nhp_product", secret: "a product's secret" };
const META: FirmwareMeta = {
  uuid: "uuid-2",
  product: "board",
  version: "2.0.0",
  platform: "rpi0",
  architecture: "arm",
};
const HOUR_MS = 3_600_000;

describe("the hub", () => {
  let dir: string;
  let hub: Hub;
  let clock: FakeClock;
  let release: Release;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "hub-test-"));
    await writeFile(join(dir, "v2.fw"), "firmware two");
  });
  after(async () => rm(dir, { recursive: true }));
  beforeEach(async () => {
    clock = new FakeClock();
    hub = await startHub({ clock, secrets: { [PRODUCT.key]: { secret: PRODUCT.secret } } });
    release = await hub.publish(join(dir, "v2.fw"), META);
  });
  afterEach(async () => {
    await hub.stop();
    assert.equal(clock.pending, 0, "stop leaves no timer behind");
  });

  const connectDevice = async (identifier = "dev"): Promise<RawDevice> =>
    open(`${hub.url}/device-socket/websocket?vsn=2.0.0`, {
      headers: signNh1({ ...PRODUCT, identifier }, Math.floor(clock.now() / 1000)),
    });
  const params = (change: Readonly<Record<string, unknown>> = {}): Record<string, unknown> => ({
    device_api_version: "2.1.0",
    nerves_fw_uuid: "uuid-1",
    nerves_fw_product: META.product,
    nerves_fw_version: "1.0.0",
    nerves_fw_platform: META.platform,
    nerves_fw_architecture: META.architecture,
    meta: { firmware_validated: true },
    ...change,
  });
  let joins = 100;
  /** Joins `device` again. @returns the events that came, without the reply and the old join's close */
  const joinAgain = async (
    device: RawDevice,
    change: Readonly<Record<string, unknown>> = {},
  ): Promise<string[]> => {
    joins += 1;
    const ref = String(joins);
    const from = device.frames.length;
    device.send([ref, ref, "device", "phx_join", params(change)]);
    await settle(device);
    return events(device, from).filter((event) => event !== "phx_reply" && event !== "phx_close");
  };
  const settle = async (device: RawDevice): Promise<void> => {
    assert.equal(await device.beat(), "answered");
  };
  const report = async (device: RawDevice, payload: unknown, event = "status_update"): Promise<void> => {
    device.send([String(joins), null, "device", event, payload]);
    await settle(device);
  };

  it("records firmware only when a join has all five of its values", async () => {
    const device = await connectDevice();
    for (const missing of ["uuid", "product", "version", "platform", "architecture"]) {
      await joinAgain(device, { [`nerves_fw_${missing}`]: undefined });
      assert.equal(hub.device("dev").firmware, undefined, missing);
    }
    await joinAgain(device, { nerves_fw_misc: "x" });
    assert.deepEqual(hub.device("dev").firmware, {
      uuid: "uuid-1",
      product: "board",
      version: "1.0.0",
      platform: "rpi0",
      architecture: "arm",
      misc: "x",
    });
  });

  it("sends archives, scripts and extensions only to devices with a late enough API version", async () => {
    hub.deploy(release, { archive: release, connectingCode: "echo hello" });
    const device = await connectDevice();
    const gates: [string | undefined, string[]][] = [
      [undefined, ["update"]],
      ["1.9.9", ["update"]],
      ["2.0", ["update"]],
      ["2.0.0", ["archive", "update"]],
      ["2.1.0-rc.1", ["archive", "update"]],
      ["2.1.0", ["archive", "scripts/run", "update"]],
      ["2.3.0", ["archive", "extensions:get", "scripts/run", "update"]],
    ];
    for (const [version, expected] of gates) {
      assert.deepEqual(await joinAgain(device, { device_api_version: version }), expected, version);
    }
  });

  it("offers a deployment at once to the devices online that it fits, and to no others", async () => {
    const boards = await Promise.all(["fits", "other-platform", "same-uuid", "unproven"].map(connectDevice));
    const [fitting, otherPlatform, sameUuid, unproven] = boards;
    assert.ok(fitting && otherPlatform && sameUuid && unproven);
    await joinAgain(fitting);
    await joinAgain(otherPlatform, { nerves_fw_platform: "rpi4" });
    await joinAgain(sameUuid, { nerves_fw_uuid: META.uuid });
    await joinAgain(unproven, { meta: { firmware_validated: false } });
    hub.deploy(release);
    await Promise.all(boards.map(settle));
    const got = boards.map((device) => events(device).includes("update"));
    assert.deepEqual(got, [true, false, false, false]);
  });

  it("sends an update again after a join that does not name it, and not after one that does", async () => {
    hub.deploy(release);
    const device = await connectDevice();
    assert.deepEqual(await joinAgain(device), ["update"]);
    assert.deepEqual(await joinAgain(device, { currently_downloading_uuid: META.uuid }), []);
    assert.deepEqual(await joinAgain(device, { currently_downloading_uuid: "" }), ["update"]);
  });

  it("gives up an update after 30 minutes without a report", async () => {
    hub.deploy(release);
    const device = await connectDevice();
    await joinAgain(device);
    hub.device("dev").inFlight = { uuid: META.uuid, status: "started", progress: 1, atMs: clock.now() };
    hub.offer();
    clock.jump(HOUR_MS / 2);
    hub.offer();
    await settle(device);
    assert.equal(events(device).filter((event) => event === "update").length, 2);
    assert.equal(hub.device("dev").statuses.at(-1)?.status, "expired");
  });

  it("blocks a device that failed or ignored a deployment, but not an operator's update", async () => {
    const device = await connectDevice();
    await joinAgain(device);
    for (const status of ["failed", "ignored", "downloading: FWUP Error!"]) {
      hub.pushUpdate("dev", release);
      await report(device, { status, reason: "because" });
      assert.equal(hub.device("dev").blockedUntil, undefined);
      assert.equal(hub.device("dev").inFlight, undefined);
    }
    hub.deploy(release, { penaltyMs: HOUR_MS });
    await settle(device);
    await report(device, { status: "some fwup error text" });
    assert.deepEqual(hub.device("dev").statuses.at(-1), {
      atMs: clock.now(),
      status: "failed",
      reason: "fwup error",
    });
    assert.equal(hub.device("dev").blockedUntil, clock.now() + HOUR_MS);
    assert.deepEqual(await joinAgain(device), []);
    clock.jump(HOUR_MS);
    assert.deepEqual(await joinAgain(device), ["update"]);
  });

  it("blocks a device without a word after three updates of a deployment that it answered", async () => {
    hub.deploy(release, { penaltyMs: HOUR_MS });
    const device = await connectDevice();
    for (let attempt = 0; attempt < 3; attempt += 1) {
      assert.deepEqual(await joinAgain(device), ["update"]);
      assert.deepEqual(await joinAgain(device), ["update"], "one that is not answered is no attempt");
      await report(device, { status: "received" });
      await report(device, { status: "rescheduled", delay_for: 0, reason: "later" });
    }
    assert.deepEqual(await joinAgain(device), []);
    clock.jump(HOUR_MS);
    assert.deepEqual(await joinAgain(device), ["update"]);
  });

  it("counts a join with the new uuid as success, also after a completed update", async () => {
    hub.deploy(release);
    const device = await connectDevice();
    await joinAgain(device);
    await report(device, { status: "completed" });
    assert.deepEqual(await joinAgain(device, { nerves_fw_uuid: META.uuid }), []);
    const { updated, inFlight, blockedUntil } = hub.device("dev");
    assert.deepEqual([updated, inFlight, blockedUntil], [[META.uuid], undefined, undefined]);
  });

  it("crashes the channel, and not the socket, on messages that crash the real server", async () => {
    const device = await connectDevice();
    const deadly: [string, unknown][] = [
      ["status_update", {}],
      ["status_update", { status: "installing" }],
      ["status_update", { status: 1 }],
      ["status_update", []],
      ["status_update", { status: "rescheduled", delay_for: "60000" }],
      ["status_update", { status: "rescheduled", delay_for: null }],
      ["fwup_progress", { value: 1.5 }],
      ["fwup_progress", { value: "10", stage: "downloading" }],
      ["update_progress", { value: null }],
      ["update_progress", { value: 1, stage: "thinking" }],
      ["report_network_interface", { interface: 1 }],
      ["scripts/run", "text"],
    ];
    for (const [event, payload] of deadly) {
      await joinAgain(device);
      const crashes = hub.device("dev").crashes.length;
      await report(device, payload, event);
      const last = device.frames.at(-1);
      const ref = String(joins);
      assert.deepEqual(last, [ref, ref, "device", "phx_error", { reason: "channel_crash" }], event);
      assert.equal(hub.device("dev").crashes.length, crashes + 1);
      assert.equal(hub.device("dev").online, false);
    }
    assert.equal(device.closeCode, undefined);
  });

  it("drops messages of an earlier join", async () => {
    const device = await connectDevice();
    await joinAgain(device);
    const earlier = String(joins);
    await joinAgain(device);
    const { length } = device.frames;
    device.send([earlier, "1", "device", "fwup_progress", { value: 1 }]);
    device.send([earlier, "2", "device", "status_update", {}]);
    device.send([earlier, "3", "device", "phx_leave", {}]);
    await settle(device);
    assert.equal(device.frames.length, length);
    const { progress, crashes, online } = hub.device("dev");
    assert.deepEqual([progress, crashes, online], [[], [], true]);
  });

  it("ends the socket with 1011 on binary frames that are cut short or not a push", async () => {
    for (const hex of ["", "00", "00000000", "0001000000", "0100000000"]) {
      const device = await connectDevice();
      device.sendRaw(Buffer.from(hex, "hex"));
      assert.equal(await device.closed(), 1011, hex);
    }
  });

  it("accepts odd messages that the real server accepts", async () => {
    const device = await connectDevice();
    await joinAgain(device);
    const odd: [string, unknown][] = [
      ["status_update", { status: "rescheduled" }],
      ["fwup_progress", {}],
      ["fwup_progress", null],
      ["firmware_validated", 1],
      ["connection_types", { values: "wifi" }],
      ["report_network_interface", []],
      ["scripts/run", {}],
      ["no_such_event", "x"],
    ];
    for (const [event, payload] of odd) await report(device, payload, event);
    assert.deepEqual(hub.device("dev").crashes, []);
    assert.equal(hub.device("dev").online, true);
  });

  it("refuses joins with an API version, meta or extensions of a wrong type", async () => {
    const device = await connectDevice();
    const joinsOf: [string, unknown][] = [
      ["device", "text"],
      ["device", { device_api_version: null }],
      ["device", { meta: null }],
      ["device", { meta: { firmware_validated: "yes" } }],
      ["extensions", { health: 1 }],
    ];
    for (const [topic, payload] of joinsOf) {
      device.send(["1", "2", topic, "phx_join", payload]);
      await settle(device);
      const response = { reason: "join crashed" };
      assert.deepEqual(device.frames.at(-1), ["1", "2", topic, "phx_reply", { status: "error", response }]);
    }
  });

  it("records progress, statuses and validation", async () => {
    const device = await connectDevice();
    await joinAgain(device, { meta: { firmware_validated: false, firmware_auto_revert_detected: true } });
    assert.equal(hub.device("dev").validated, "not_validated");
    assert.equal(hub.device("dev").autoRevertDetected, true);
    await report(device, { value: 3, stage: "downloading" }, "fwup_progress");
    await report(device, { value: 7 }, "update_progress");
    await report(device, { value: 100 }, "fwup_progress");
    await report(device, {}, "firmware_validated");
    const { progress, statuses, validated, inFlight } = hub.device("dev");
    assert.deepEqual(
      progress.map(({ stage, value }) => `${stage} ${value}`),
      ["downloading 3", "updating 7", "completed 100"],
    );
    assert.deepEqual(
      statuses.map(({ status }) => status),
      ["completed"],
    );
    assert.equal(validated, "validated");
    assert.equal(inFlight?.status, "completed");
  });

  it("puts the update into the join's reply when it plays an old server", async () => {
    hub.deploy(release, { inJoinReply: true });
    const device = await connectDevice();
    assert.deepEqual(await joinAgain(device), []);
    const reply = device.frames[0];
    assert.ok(Array.isArray(reply) && isMap(reply[4]) && isMap(reply[4]["response"]));
    assert.equal(reply[4]["response"]["update_available"], true);
  });

  it("sends any frame to any device, well-formed or not", async () => {
    const device = await connectDevice();
    await joinAgain(device);
    hub.pushUpdate("dev", release, { size: -1, checksum: undefined });
    hub.send("dev", "device", "scripts/run", { text: "x", ref: "r" });
    hub.send("dev", "console", "dn", "no map");
    hub.identify("dev");
    hub.sendRaw("dev", '[1,2,3,4,"raw"]');
    await settle(device);
    const [update, script, console, identify, raw] = device.frames.slice(-5);
    assert.ok(Array.isArray(update) && isMap(update[4]));
    assert.equal(update[4]["size"], -1);
    assert.equal("checksum" in update[4], false);
    assert.deepEqual(script, [String(joins), null, "device", "scripts/run", { text: "x", ref: "r" }]);
    assert.deepEqual(console, [null, null, "console", "dn", "no map"]);
    assert.deepEqual(identify, [null, null, "device", "identify", {}]);
    assert.deepEqual(raw, [1, 2, 3, 4, "raw"]);
    assert.throws(() => hub.reboot("nobody"), /nobody is not connected/);
  });

  it("asks for health when it is attached and then each hour, until it is detached", async () => {
    const device = await connectDevice();
    device.send(["1", "1", "extensions", "phx_join", { health: "0.0.1", geo: "9.0.0", other: "0.0.1" }]);
    device.send(["1", "2", "extensions", "health:attached", {}]);
    await settle(device);
    assert.deepEqual([...hub.device("dev").attached], ["health"]);
    const hours = async (count: number): Promise<void> => {
      for (let minutes = 0; minutes <= count * 60; minutes += 1) {
        await clock.advance(60_000);
        await settle(device); // else the hub would close the silent socket
      }
    };
    await hours(2);
    const checks = (): number => events(device).filter((event) => event === "health:check").length;
    assert.equal(checks(), 3);
    device.send(["1", "3", "extensions", "health:detached", {}]);
    await hours(1);
    assert.equal(checks(), 3);
  });

  it("waits for messages that have come or will come, and names the last ones when none matches", async () => {
    const device = await connectDevice();
    await joinAgain(device);
    const early = await hub.waitFor("dev", ({ event }) => event === "phx_join");
    assert.equal(early.topic, "device");
    const coming = hub.waitFor("dev", ({ event }) => event === "rebooting");
    await report(device, {}, "rebooting");
    assert.equal((await coming).event, "rebooting");
    await assert.rejects(
      hub.waitFor("dev", () => true, hub.device("dev").received.length, 1),
      /not within 1 ms: dev sent no such message; its last ones:(.|\n)*heartbeat/,
    );
    const left = hub.until(() => !hub.device("dev").connected);
    device.close();
    await left;
    assert.deepEqual(hub.device("dev").closes, [1000]);
  });

  it("has faults: it refuses, redirects, closes, drops frames, flaps and sends garbage", async () => {
    hub.faults.add(refuseUpgrade(503, { "retry-after": "7" }), 1);
    await assert.rejects(connectDevice(), /refused: 503/);

    hub.faults.add(redirectUpgrade("wss://elsewhere.test/socket"), 1);
    const redirected = await connect(`${hub.url}/device-socket/websocket?vsn=2.0.0`);
    assert.deepEqual(
      [redirected.status, redirected.headers["location"]],
      [302, "wss://elsewhere.test/socket"],
    );

    hub.faults.add(acceptThenClose(1012), 1);
    assert.equal(await (await connectDevice()).closed(), 1012);

    const listens = hub.faults.add(swallowHeartbeats());
    const device = await connectDevice();
    device.send([null, "1", "phoenix", "heartbeat", {}]);
    device.send(["1", "2", "console", "phx_join", {}]);
    await device.count(1);
    assert.deepEqual(device.frames, [["1", "2", "console", "phx_reply", { status: "ok", response: {} }]]);
    listens();

    const speaks = hub.faults.add(dropFrames());
    device.send(["1", "3", "device", "phx_join", params()]);
    await device.ping();
    hub.send("dev", "device", "identify", {});
    speaks();
    device.send(["1", "4", "console", "phx_join", {}]);
    await settle(device);
    assert.deepEqual(events(device).includes("identify"), false);
    device.close();

    hub.faults.add(flap(1000), 1);
    const flapping = await connectDevice();
    const closed = flapping.closed();
    await clock.advance(1000);
    assert.equal(await closed, 1006);

    hub.faults.add(flap(1000), 1);
    (await connectDevice()).close(); // closed before the flap, whose timer ends with the socket
    await hub.until(() => !hub.device("dev").connected);

    hub.faults.add(garbageFrame('"garbage"'), 1);
    const confused = await connectDevice();
    assert.deepEqual(await confused.count(1), ["garbage"]);
    assert.deepEqual(hub.faults.names, []);
  });
});

function events(device: RawDevice, from = 0): string[] {
  return device.frames
    .slice(from)
    .flatMap((frame) => (Array.isArray(frame) && frame[2] !== "phoenix" ? [String(frame[3])] : []));
}
