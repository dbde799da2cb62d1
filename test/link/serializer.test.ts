/** Frames as JSON: round trips, malformed input, and the same bytes as Phoenix's own client. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import fc from "fast-check";
import { Socket } from "phoenix";
import { WebSocket } from "ws";
import { jsonSerializer, type Frame } from "../../src/hub/serializer.ts";
import { failedWith } from "../../src/platform/failure.ts";
import { inTime } from "../eventually.ts";
import { createBench, type Bench } from "./bench.ts";

const decode = (data: Uint8Array, isBinary: boolean): Frame => jsonSerializer.decode(data, isBinary);
const bytes = (text: string): Buffer => Buffer.from(text);

describe("frames as JSON", () => {
  it("are encoded and decoded without a change", () => {
    const ref = fc.option(fc.string(), { nil: null });
    const frames = fc.record({
      joinRef: ref,
      ref,
      topic: fc.string(),
      event: fc.string(),
      payload: fc.jsonValue({ maxDepth: 3 }),
    });
    fc.assert(
      fc.property(frames, (frame: Frame) => {
        const data = jsonSerializer.encode(frame);
        assert(typeof data === "string");
        // JSON knows no -0.
        assert.deepEqual(decode(bytes(data), false), JSON.parse(JSON.stringify(frame)));
      }),
      { numRuns: 5000 },
    );
  });

  it("may have numbers as refs, as some servers send them", () => {
    const { joinRef, ref } = decode(bytes('[1,2,"device","x",{}]'), false);
    assert.deepEqual([joinRef, ref], ["1", "2"]);
  });

  const malformed: readonly (readonly [data: string | Buffer, isBinary: boolean, problem: RegExp])[] = [
    ["", false, /0 bytes that are not JSON/],
    ["not json: secret", false, /16 bytes that are not JSON/],
    [Buffer.from([0xff, 0xfe]), false, /2 bytes that are not JSON/],
    [Buffer.from([0x22, 0xff, 0x22]), false, /3 bytes that are not JSON/],
    [Buffer.from([1, 2, 3]), true, /a binary frame of 3 bytes/],
    ['{"topic":"device"}', false, /not an array/],
    ["null", false, /not an array/],
    ["[]", false, /an array of 0 elements, not 5/],
    ['[null,null,"device","x"]', false, /an array of 4 elements, not 5/],
    ['[null,null,"device","x",{},1]', false, /an array of 6 elements, not 5/],
    ['[null,null,1,"x",{}]', false, /the topic is not a string/],
    ['[null,null,"device",null,{}]', false, /the event is not a string/],
    ['[{},null,"device","x",{}]', false, /join_ref is neither a string nor null/],
    ['[null,true,"device","x",{}]', false, /ref is neither a string nor null/],
  ];
  for (const [data, isBinary, problem] of malformed) {
    it(`are refused with the reason: ${JSON.stringify(data.toString())}`, () => {
      assert.throws(
        () => decode(Buffer.from(data as string), isBinary),
        (error) =>
          failedWith(error, "frame_invalid") &&
          problem.test(error.message) &&
          !error.message.includes("secret"),
      );
    });
  }

  it("with more values than memory is for are refused before they are built", () => {
    for (const values of [
      "{},".repeat(300_000),
      "[".repeat(500_000),
      '{"a":1},'.repeat(100_000),
      "1,".repeat(40_000),
    ]) {
      const data = Buffer.from(`[null,null,"device","x",[${values}`); // not even JSON: it is never parsed
      assert.throws(() => decode(data, false), { message: /more than 32768 values$/ });
    }
  });

  it("with the checksums of a large firmware, or a long text, are decoded", () => {
    for (const payload of [
      { parts: Array.from({ length: 15_000 }, () => "0123456789abcdef".repeat(4)) },
      { text: '[{,:\\"'.repeat(100_000) },
      { text: `${",".repeat(100_000)}\\` },
    ]) {
      const data = Buffer.from(JSON.stringify([null, null, "device", "x", payload]));
      assert.deepEqual(decode(data, false).payload, payload);
    }
  });

  it("of any bytes are decoded or refused with frame_invalid", () => {
    const neverElse = (data: Uint8Array, isBinary: boolean): void => {
      try {
        const frame = decode(data, isBinary);
        assert.equal(typeof frame.topic, "string");
        assert.equal(typeof frame.event, "string");
      } catch (error) {
        assert(failedWith(error, "frame_invalid"), String(error));
      }
    };
    const element = fc.oneof(
      fc.constant(null),
      fc.string({ maxLength: 5 }),
      fc.integer(),
      fc.jsonValue({ maxDepth: 3 }),
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), neverElse), { numRuns: 20_000 });
    fc.assert(
      fc.property(fc.array(element, { maxLength: 7 }), (array) =>
        neverElse(bytes(JSON.stringify(array)), false),
      ),
      { numRuns: 20_000 },
    );
  });

  it("may be nested as deep as a frame may have values", () => {
    const depth = 32_700;
    const { payload } = decode(
      bytes(`[null,null,"device","x",${"[".repeat(depth)}${"]".repeat(depth)}]`),
      false,
    );
    assert(Array.isArray(payload));
  });
});

describe("the link's bytes on the wire", () => {
  let bench: Bench;
  beforeEach(() => {
    bench = createBench();
  });
  afterEach(async () => bench.end());

  it("equal those of the official Phoenix client", async () => {
    const server = await bench.serve();
    const payload = { nerves_fw_uuid: "ü-1", meta: { firmware_validated: true }, nothing: null };
    const status = { status: "received" };

    const socket = new Socket(server.url.slice(0, -1), {
      transport: WebSocket,
      heartbeatIntervalMs: 3_600_000,
    });
    const theirs = socket.channel("device", payload);
    const joined = new Promise((resolve) => theirs.join().receive("ok", resolve));
    socket.connect();
    await inTime(joined, "the answer to a join");
    theirs.push("status_update", status);
    // Public in the client, absent from the typings.
    (socket as Socket & { sendHeartbeat(): void }).sendHeartbeat();
    theirs.leave();
    const [first] = server.peers;
    await bench.until(() => first?.texts.length === 4);
    const disconnected = new Promise<void>((resolve) => socket.disconnect(resolve));
    await inTime(disconnected, "the end of the connection");

    const link = bench.link(server.url);
    const ours = link.channel("device", {
      joinPayload: () => payload,
      onJoined: () => bench.changed(),
      onMessage: () => undefined,
    });
    link.start();
    await bench.until(() => ours.joined);
    ours.push("status_update", status);
    await link.confirm(1000);
    link.drop(ours);
    const second = await bench.until(() => server.peers[1]);
    await bench.until(() => second.texts.length === 4);
    // The official client uses refs for its own callbacks too, so its first message does not have ref 1.
    assert.deepEqual(second.texts, renumbered(first?.texts ?? []));
  });
});

/** Counts the refs of raw messages from 1 on. */
function renumbered(texts: readonly string[]): string[] {
  const before = Number(/\d+/.exec(texts[0] ?? "")?.[0]) - 1;
  return texts.map((text) =>
    text.replace(/^\[(?:"\d+"|null),"\d+"/, (refs) =>
      refs.replace(/\d+/g, (ref) => String(Number(ref) - before)),
    ),
  );
}
