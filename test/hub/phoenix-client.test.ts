/**
 * Phoenix's own JavaScript client against the stand-in hub: an independent check of the stand-in's protocol.
 */
import assert from "node:assert/strict";
import { it } from "node:test";
import { Socket, type Channel } from "phoenix";
import { WebSocket } from "ws";
import { inTime } from "../eventually.ts";
import { signNh1 } from "./nh1.ts";
import { startHub } from "./server.ts";

const CREDENTIALS = { key: "nhp_product", secret: "a product's secret", identifier: "dev" };

/** The client makes its own WebSocket, so this class adds the device's headers. */
class SignedWebSocket extends WebSocket {
  constructor(url: string) {
    super(url, { headers: signNh1(CREDENTIALS, Math.floor(Date.now() / 1000)) });
  }
}

it("the official Phoenix client can use the hub", async () => {
  const hub = await startHub({
    secrets: { [CREDENTIALS.key]: { secret: CREDENTIALS.secret } },
    publicKeys: ["a key"],
  });
  const socket = new Socket(`${hub.url}/device-socket`, {
    transport: SignedWebSocket,
    heartbeatIntervalMs: 2000, // a client whose heartbeat is not answered by the next one gives up; the machine may be busy
  });
  socket.connect();
  const device = socket.channel("device", { device_api_version: "2.3.0", fwup_public_keys: "on_connect" });
  const keys = heard(device, "fwup_public_keys");
  const extensionsWanted = heard(device, "extensions:get");
  assert.deepEqual(await answer(device), {});
  assert.deepEqual(await keys, { keys: ["a key"] });
  await extensionsWanted;

  const extensions = socket.channel("extensions", { health: "0.0.1", nonsense: "1.0.0" });
  assert.deepEqual(await answer(extensions), ["health"]);
  const check = heard(extensions, "health:check");
  extensions.push("health:attached", {}, 20); // never replied to
  await check;
  const refused = new Promise((resolve) => extensions.push("nonsense:x", {}).receive("error", resolve));
  assert.equal(await inTime(refused, "the refusal of a message"), "detach");

  device.push("status_update", { status: "received" }, 20); // nor is this
  await hub.waitFor("dev", ({ event }) => event === "status_update");
  await hub.until(() => hub.device("dev").received.filter(({ topic }) => topic === "phoenix").length > 1);

  const crashed = new Promise((resolve) => device.onError(resolve));
  const joins = hub.device("dev").joins.length;
  hub.crashChannel("dev", "device");
  assert.deepEqual(await inTime(crashed, "the crash of a channel"), { reason: "channel_crash" });
  await hub.until(() => hub.device("dev").joins.length > joins); // the client joins again by itself

  const unmatched = new Promise((resolve) => {
    socket.channel("nosuchtopic").join().receive("error", resolve);
  });
  assert.deepEqual(await inTime(unmatched, "the refusal of a join"), { reason: "unmatched topic" });

  const left = new Promise((resolve) => extensions.leave().receive("ok", resolve));
  await inTime(left, "the answer to a leave");
  const disconnected = new Promise<void>((resolve) => socket.disconnect(resolve, 1000));
  await inTime(disconnected, "the end of the connection");
  await hub.until(() => !hub.device("dev").connected);
  assert.equal(hub.device("dev").connections, 1);
  await hub.stop();
});

async function heard(channel: Channel, event: string): Promise<unknown> {
  return inTime(new Promise((resolve) => channel.on(event, resolve)), event);
}

async function answer(channel: Channel): Promise<unknown> {
  const joined = new Promise((resolve, reject) => {
    channel.join().receive("ok", resolve).receive("error", reject).receive("timeout", reject);
  });
  return inTime(joined, "the answer to a join");
}
