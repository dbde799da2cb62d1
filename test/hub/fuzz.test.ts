/** Random frames against the stand-in hub: it may crash a channel or close a socket, but must go on. */
import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import type { RawDevice } from "./client.ts";
import { signNh1 } from "./nh1.ts";
import { open } from "./replay.ts";
import { startHub } from "./server.ts";

const PRODUCT = { key: "nhp_product", secret: "a product's secret" };
const FRAMES = 20_000;

const ref = fc.oneof(fc.constantFrom("1", "2", null, 1), fc.jsonValue({ maxDepth: 1 }));
const topic = fc.oneof(
  {
    arbitrary: fc.constantFrom("device", "console", "extensions", "phoenix", "device:9", "__proto__"),
    weight: 9,
  },
  { arbitrary: fc.jsonValue({ maxDepth: 1 }), weight: 1 },
);
const event = fc.oneof(
  {
    arbitrary: fc.constantFrom(
      ...["phx_join", "phx_leave", "heartbeat", "status_update", "fwup_progress", "update_progress"],
      ...["firmware_validated", "connection_types", "report_network_interface", "scripts/run", "up"],
      ...["file-data", "health:attached", "health:report", "geo:error", "constructor", "__proto__"],
    ),
    weight: 9,
  },
  { arbitrary: fc.jsonValue({ maxDepth: 1 }), weight: 1 },
);
const word = fc.oneof(
  fc.constantFrom("received", "failed", "ignored", "rescheduled", "completed", "downloading", "FWUP ERROR"),
  fc.jsonValue({ maxDepth: 1 }),
);
const payload = fc.oneof(
  fc.record(
    {
      status: word,
      stage: word,
      value: fc.oneof(fc.integer(), fc.double(), fc.constant(100)),
      delay_for: fc.jsonValue({ maxDepth: 0 }),
      data: fc.oneof(fc.string(), fc.integer()),
      health: fc.constantFrom("0.0.1", "x", 1),
      interface: word,
      meta: fc.oneof(fc.constant({ firmware_validated: true }), fc.jsonValue({ maxDepth: 1 })),
      device_api_version: fc.constantFrom("2.3.0", "x", 1),
      nerves_fw_uuid: fc.constantFrom("a", "b", "", 1),
    },
    { requiredKeys: [] },
  ),
  fc.jsonValue({ maxDepth: 2 }),
);
const readable = fc.tuple(ref, ref, topic, event, payload).map((frame) => JSON.stringify(frame));
const frame = fc.oneof(
  { arbitrary: readable, weight: 97 },
  { arbitrary: fc.string(), weight: 1 },
  { arbitrary: fc.jsonValue().map((value) => JSON.stringify(value)), weight: 1 },
  { arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)), weight: 1 },
);

it(`the hub survives ${FRAMES} random frames`, async () => {
  const hub = await startHub({ secrets: { [PRODUCT.key]: { secret: PRODUCT.secret } } });
  const connectDevice = async (): Promise<RawDevice> =>
    open(`${hub.url}/device-socket/websocket?vsn=2.0.0`, {
      headers: signNh1({ ...PRODUCT, identifier: "dev" }, Math.floor(Date.now() / 1000)),
    });
  let device = await connectDevice();
  for (const data of fc.sample(frame, { numRuns: FRAMES, seed: 42 })) {
    device.sendRaw(data);
    if ((await device.beat()) === "answered") continue;
    assert.equal(device.closeCode, 1011, `after ${String(data)}`);
    device = await connectDevice();
  }
  const { received, crashes, joins, connections } = hub.device("dev");
  assert.ok(received.length > FRAMES * 0.9, "most frames were read");
  assert.ok(crashes.length > 100 && joins.length > 100 && connections > 100, "all kinds of frames occurred");
  await hub.stop();
});
