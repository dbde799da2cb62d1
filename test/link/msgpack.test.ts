/**
 * Frames in MessagePack: checked against frames of the real server, and against input that is not a frame.
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { decode as unpack, encode as pack } from "@msgpack/msgpack";
import fc from "fast-check";
import { loadMsgpackSerializer } from "../../src/hub/msgpack.ts";
import type { Serializer } from "../../src/hub/serializer.ts";
import { failedWith } from "../../src/platform/failure.ts";
import { fixturesMissing } from "../fixtures.ts";
import { open, readTranscript } from "../hub/replay.ts";
import { startHub, type Hub } from "../hub/server.ts";
import { signNh1 } from "../hub/nh1.ts";

describe("frames in MessagePack", () => {
  let serializer: Serializer;
  before(async () => (serializer = await loadMsgpackSerializer()));
  const frame = {
    joinRef: "1",
    ref: null,
    topic: "device",
    event: "x",
    payload: { a: [1, "ü", null, true] },
  };

  it("are encoded and decoded without a change", () => {
    const bytes = serializer.encode(frame);
    assert(bytes instanceof Uint8Array);
    assert.deepEqual(unpack(bytes), ["1", null, "device", "x", frame.payload]);
    assert.deepEqual(serializer.decode(bytes, true), frame);
  });

  it(
    "of the real server are decoded (5-archive-scripts-msgpack-phoenixjs)",
    { skip: fixturesMissing },
    async () => {
      const lines = await readTranscript("5-archive-scripts-msgpack-phoenixjs.log");
      let seen = 0;
      for (const [index, { kind, text }] of lines.entries()) {
        if (kind !== "<-" || !text.startsWith("BIN ")) continue;
        const { joinRef, ref, topic, event, payload } = serializer.decode(
          Buffer.from(text.slice(4), "hex"),
          true,
        );
        const decoded = /decoded (.*)$/.exec(lines[index + 1]?.text ?? "")?.[1];
        assert.deepEqual([joinRef, ref, topic, event, payload], JSON.parse(decoded ?? ""));
        seen += 1;
      }
      assert.equal(seen, 6);
    },
  );

  it("carry times: a Date is sent as a timestamp, and a timestamp is received as ISO text", () => {
    const date = new Date("2026-11-22T11:43:46.123Z");
    const bytes = serializer.encode({ ...frame, payload: { at: date } });
    assert(bytes instanceof Uint8Array);
    assert.deepEqual((unpack(bytes) as unknown[])[4], { at: date });
    assert.deepEqual(serializer.decode(bytes, true).payload, { at: "2026-11-22T11:43:46.123Z" });
  });

  it("leave out undefined values, as JSON does", () => {
    const { payload } = serializer.decode(
      Buffer.from(serializer.encode({ ...frame, payload: { a: undefined, b: 1 } })),
      true,
    );
    assert.deepEqual(payload, { b: 1 });
  });

  const bad: readonly (readonly [what: string, data: Uint8Array, isBinary: boolean])[] = [
    ["text", Buffer.from("[]"), false],
    ["nothing", Buffer.alloc(0), true],
    ["a frame cut short", Buffer.from(pack([null, null, "device", "x", {}])).subarray(0, 9), true],
    ["two frames", Buffer.concat([pack([null, null, "t", "e", 1]), pack(1)]), true],
    ["four elements", Buffer.from(pack([null, null, "t", "e"])), true],
    ["a malformed timestamp", Buffer.from(pack([null, null, "t", "e"]).fill(0)), true],
    [
      "arrays that announce millions of items",
      Buffer.concat(Array.from({ length: 200_000 }, () => Buffer.from([0xdd, 0, 0x10, 0, 0]))),
      true,
    ],
    ["a map that announces millions of items", Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff]), true],
  ];
  for (const [what, data, isBinary] of bad) {
    it(`are refused: ${what}`, () => {
      assert.throws(() => serializer.decode(data, isBinary), { code: "frame_invalid" });
    });
  }

  it("with more values than memory is for are refused before they are built", () => {
    const million = Buffer.concat([Buffer.from([0xdd, 0, 0x0f, 0x42, 0x40]), Buffer.alloc(1_000_000, 0x80)]);
    assert.throws(() => serializer.decode(million, true), { message: /more than 32768 values$/ });
    const parts = Array.from({ length: 15_000 }, () => "0123456789abcdef".repeat(4));
    const bytes = Buffer.from(serializer.encode({ ...frame, payload: { parts } }));
    assert.deepEqual(serializer.decode(bytes, true).payload, { parts });
  });

  it("of any bytes are decoded or refused with frame_invalid", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (data) => {
        try {
          serializer.decode(data, true);
        } catch (error) {
          assert(failedWith(error, "frame_invalid"), String(error));
        }
      }),
      { numRuns: 20_000 },
    );
    // The decoder refuses the key __proto__, which would reach behind an object.
    const payloads = fc.jsonValue().filter((payload) => !JSON.stringify(payload).includes("__proto__"));
    fc.assert(
      fc.property(payloads, (payload) => {
        const bytes = serializer.encode({ ...frame, payload });
        assert(bytes instanceof Uint8Array);
        assert.deepEqual(
          JSON.parse(JSON.stringify(serializer.decode(bytes, true).payload)),
          JSON.parse(JSON.stringify(payload)),
        );
      }),
    );
  });
});

describe("the stand-in hub in MessagePack", { skip: fixturesMissing }, () => {
  const DEVICE = { key: "nhp_product", secret: "a product's secret", identifier: "dev-1" };
  let hub: Hub;
  before(async () => {
    hub = await startHub({
      secrets: { [DEVICE.key]: { secret: DEVICE.secret } },
      publicKeys: ["ykPmLrgsLMHqEEmJK3ryX/YSBgObsiX624TWZjXULjo="],
    });
  });
  after(async () => hub.stop());

  it("answers as the real one did (5-archive-scripts-msgpack-phoenixjs)", async () => {
    const device = await open(`${hub.url}/device-socket/websocket?vsn=3.0.0`, {
      headers: signNh1(DEVICE, Math.floor(Date.now() / 1000)),
    });
    const lines = await readTranscript("5-archive-scripts-msgpack-phoenixjs.log");
    const join = lines.find(({ kind, text }) => kind === "->" && text.includes("phx_join"));
    const recorded = lines
      .map(({ text }) => /decoded (.*)$/.exec(text)?.[1])
      .filter((text) => text !== undefined)
      .map((text): unknown => JSON.parse(text));
    device.send(JSON.parse(join?.text ?? ""));
    device.send([null, "2", "phoenix", "heartbeat", {}]);
    const isArchive = (frame: unknown): boolean => Array.isArray(frame) && frame[3] === "archive"; // of a release
    const expected = recorded.filter((frame) => !isArchive(frame));
    assert.deepEqual(await device.count(expected.length), expected);
    device.sendRaw("text is not spoken here");
    assert.equal(await device.closed(), 1011);
  });
});
