/** Transcripts of the real NervesHub, replayed against the stand-in: it must give the same answers. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fixturesMissing } from "../fixtures.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { createAuthority } from "./certificates.ts";
import type { RawDevice } from "./client.ts";
import { signNh1 } from "./nh1.ts";
import type { Release } from "./releases.ts";
import { open, readTranscript, replay } from "./replay.ts";
import { startHub, type Hub } from "./server.ts";

const DEVICE = { key: "nhp_product", secret: "a product's secret", identifier: "dev-1" };
const KEYS = {
  first: "ykPmLrgsLMHqEEmJK3ryX/YSBgObsiX624TWZjXULjo=",
  penalty: "cj31cVPpW0airYo3JeS8F3tOuKiTLzmM1fJB893vCic=",
};
const JOIN = {
  device_api_version: "2.3.0",
  console_version: "2.0.0",
  fwup_version: "1.16.0",
  nerves_fw_uuid: "4955ec71-26ce-5e0e-2ad9-47c6efa9c45a",
  nerves_fw_version: "1.0.0",
  nerves_fw_product: "agent-product",
  nerves_fw_platform: "x86test",
  nerves_fw_architecture: "x86_64",
  fwup_public_keys: "on_connect",
  archive_public_keys: "on_connect",
};
const SEED = {
  version: "1.1.0",
  description: "seed 1.1.0",
  product: "agent-product",
  author: "h-hub",
  uuid: "6a60baa9-9a63-5fa6-3012-8466cf33015d",
  platform: "x86test",
  architecture: "x86_64",
};

// Not replayed: transcript 5 (MessagePack and scripts of the operator's page) and 6 (the real server chooses a
// delta; here a test publishes the file it wants).
describe("the stand-in answers as the real server did", { skip: fixturesMissing }, () => {
  const clock = new FakeClock();
  let dir: string;
  let hub: Hub;
  let release: Release;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "hub-transcripts-"));
    await writeFile(join(dir, "seed.fw"), "a firmware");
  });
  after(async () => rm(dir, { recursive: true }));

  const start = async (publicKey = KEYS.first): Promise<void> => {
    hub = await startHub({
      clock,
      secrets: { [DEVICE.key]: { secret: DEVICE.secret } },
      publicKeys: [publicKey],
      extensions: ["geo", "health", "local_shell", "network_identity"], // the recording had no analytics
    });
    release = await hub.publish(join(dir, "seed.fw"), SEED);
  };
  const connectDevice = async (): Promise<RawDevice> =>
    open(`${hub.url}/device-socket/websocket?vsn=2.0.0`, {
      headers: signNh1(DEVICE, Math.floor(clock.now() / 1000)),
    });
  const clearPenalty = (): void => {
    hub.device("dev-1").blockedUntil = undefined;
  };

  it("joins, extensions, unmatched topics, leaving (1-join-extensions)", async () => {
    await start();
    const lines = await readTranscript("1-join-extensions.log");
    await replay(lines, { open: connectDevice, actions: [] });
    await hub.stop();
  });

  it("the console, an operator's update, reboot, reconnect (2-update-console)", async () => {
    await start();
    await replay(await readTranscript("2-update-console.log"), {
      open: connectDevice,
      operator: (event, payload) => {
        const uploader = event === "file-data/start" || event === "file-data/stop" ? { uploaded_by: 1 } : {};
        if (event !== "up") hub.send("dev-1", "console", event, { ...uploader, ...(payload as object) });
      },
      actions: [
        ["API code", () => ["a", "b", "\r"].forEach((data) => hub.send("dev-1", "console", "dn", { data }))],
        ["API manual upgrade", () => hub.pushUpdate("dev-1", release)],
        ["API reboot", () => hub.reboot("dev-1")],
        ["API reconnect", () => hub.disconnect("dev-1")],
      ],
    });
    const device = hub.device("dev-1");
    assert.equal(device.networkInterface, "ethernet");
    assert.equal(device.console, "hello from device\r\n");
    assert.deepEqual(
      device.statuses.map(({ status }) => status),
      ["received", "started", "completed", "completed"],
    );
    await hub.stop();
  });

  it("a deployment: re-sent, left alone, rescheduled, failed, succeeded (3-deployment)", async () => {
    await start();
    await replay(await readTranscript("3-deployment.log"), {
      open: connectDevice,
      actions: [
        // The recorded device was in no group yet when the deployment went live.
        ["--- reconnect WITHOUT", () => (hub.device("dev-1").validated = "not_validated")],
        ["--- reconnect WITHOUT", () => hub.deploy(release)],
        ["--- reconnect after delay", async () => clock.advance(9000)],
        ["--- clear penalty", clearPenalty],
      ],
    });
    assert.deepEqual(hub.device("dev-1").updated, [SEED.uuid]);
    assert.equal(hub.device("dev-1").validated, "validated");
    await hub.stop();
  });

  it("edges: duplicates, old refs, crashes, frames that can't be read (4-edge)", async () => {
    await start();
    await replay(await readTranscript("4-edge.log"), {
      open: connectDevice,
      actions: [],
      longFrames: new Map<string, unknown>([
        ["=== ref as a number", [1, 1, "device", "phx_join", JOIN]],
        ["=== text 1 MiB payload", ["1", "1", "device", "zzz", { d: "x".repeat(2 ** 20) }]],
        ["=== text 9 MiB payload", [null, "1", "phoenix", "heartbeat", { d: "x".repeat(9 * 2 ** 20) }]],
      ]),
    });
    await hub.stop();
  });

  it("a device with a certificate, its shell (7-cert-localshell)", async () => {
    const authority = await createAuthority("hub CA");
    const server = await authority.server(["localhost"]);
    hub = await startHub({
      tls: { ...server, ca: authority.cert, clientCertificates: "optional" },
      publicKeys: [KEYS.first],
    });
    const own = await authority.device("cert-dev-1");
    const names = new Map([
      ["input", "local_shell:shell_input"],
      ["window_size", "local_shell:window_size"],
    ]);
    await replay(await readTranscript("7-cert-localshell.log"), {
      open: async () => open(`${hub.url}/socket/websocket?vsn=2.0.0`, { ca: authority.cert, ...own }),
      actions: [],
      operator: (event, payload) => hub.send("cert-dev-1", "extensions", names.get(event) ?? event, payload),
    });
    await hub.stop();
  });

  it("penalties: failed and ignored block a device (8-penalty)", async () => {
    await start(KEYS.penalty);
    hub.deploy(release);
    const blocked: (number | undefined)[] = [];
    const note = (): void => void blocked.push(hub.device("dev-1").blockedUntil);
    await replay(await readTranscript("8-penalty.log"), {
      open: connectDevice,
      actions: [
        ["--- rejoin in penalty", note],
        ["clear penalty", clearPenalty],
        ["after ignored", note],
        ["after ignored", clearPenalty],
        ["after ignored", () => hub.pushUpdate("dev-1", release)],
      ],
    });
    const tomorrow = clock.now() + 86_400_000;
    assert.deepEqual(blocked, [tomorrow, tomorrow]);
    await hub.stop();
  });

  it("180 s of silence end a socket with 1002, heartbeats and pings put it off (idle)", async () => {
    await start();
    const device = await connectDevice();
    const noted = hub.device("dev-1");
    await clock.advance(179_000);
    device.send([null, "1", "phoenix", "heartbeat", {}]);
    await device.count(1);
    await clock.advance(179_000);
    await device.ping();
    await clock.advance(179_999);
    assert.equal(clock.nextDelay, 1, "the hub waits one more ms");
    await clock.advance(1);
    assert.equal(await device.closed(), 1002);
    await hub.until(() => !noted.connected);
    await hub.stop();
  });
});
