/** What the stand-in hub keeps of a device's metrics and alarms, and what it drops, as NervesHub does (protocol §7.3). */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import fc from "fast-check";
import { FakeClock } from "../platform/fake-clock.ts";
import type { RawDevice } from "./client.ts";
import type { DeviceRecord } from "./device-record.ts";
import { signNh1 } from "./nh1.ts";
import { open } from "./replay.ts";
import { type HubApi, type Hub, startHub } from "./server.ts";

const PRODUCT = { key: "nhp_product", secret: "a product's secret" };
const HOUR_MS = 3_600_000;

describe("a device's reports at the hub", () => {
  let clock: FakeClock;
  let hub: Hub;
  let device: RawDevice;
  let record: DeviceRecord;
  beforeEach(() => (clock = new FakeClock()));
  afterEach(async () => {
    await hub.stop();
    assert.equal(clock.pending, 0, "stop leaves no timer behind");
  });

  const attach = async (name: string, version: string, api: HubApi = "2.4"): Promise<void> => {
    hub = await startHub({ clock, api, secrets: { [PRODUCT.key]: { secret: PRODUCT.secret } } });
    device = await open(`${hub.url}/device-socket/websocket?vsn=2.0.0`, {
      headers: signNh1({ ...PRODUCT, identifier: "dev" }, Math.floor(clock.now() / 1000)),
    });
    record = hub.device("dev");
    device.send(["1", "1", "extensions", "phx_join", { [name]: version }]);
    await push(`${name}:attached`, {});
  };
  const push = async (event: string, payload: unknown): Promise<void> => {
    device.send(["1", null, "extensions", event, payload]);
    assert.equal(await device.beat(), "answered");
  };
  const heard = async (event: string): Promise<number> => {
    assert.equal(await device.beat(), "answered");
    return device.frames.filter((frame) => Array.isArray(frame) && frame[3] === event).length;
  };
  const minutes = async (count: number): Promise<void> => {
    for (let minute = 0; minute < count; minute += 1) {
      await clock.advance(60_000);
      assert.equal(await device.beat(), "answered"); // else the hub would close the silent socket
    }
  };
  const at = (ms: number): string => new Date(clock.now() + ms).toISOString();
  const numbers = (count: number): Record<string, number> =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`m${String(n).padStart(2, "0")}`, n]));
  const dropped = (): string[] => record.dropped.map(({ what }) => what);

  it("metrics: asked for at once and each 15 minutes, and kept by the device's times", async () => {
    await attach("metrics", "0.1.0");
    await minutes(31);
    assert.equal(await heard("metrics:check"), 3);
    const reports = [
      { timestamp: at(-1000), metrics: { load_1min: 2 } },
      { timestamp: at(-2000), metrics: { load_1min: 1 } },
    ];
    await push("metrics:report", { reports });
    assert.deepEqual(record.metrics, [
      { atMs: clock.now() - 2000, metrics: { load_1min: 1 } },
      { atMs: clock.now() - 1000, metrics: { load_1min: 2 } },
    ]);
    assert.deepEqual(dropped(), []);
  });

  it("metrics: of a report, 20 names are kept, in sorted order", async () => {
    await attach("metrics", "0.1.0");
    const metrics = {
      ...Object.fromEntries(Object.entries(numbers(21)).reverse()),
      [`a${"é".repeat(32)}`]: 1,
      text: "x",
    };
    await push("metrics:report", { reports: [{ timestamp: at(0), metrics }] });
    assert.deepEqual(record.metrics[0]?.metrics, numbers(20));
    assert.deepEqual(dropped(), ["m20", `a${"é".repeat(32)}`, "text"]);
  });

  it("metrics: reports over 60, of another day, without a time or metrics are dropped", async () => {
    await attach("metrics", "0.1.0");
    const good = { timestamp: at(-24 * HOUR_MS), metrics: { a: 1 } };
    const bad = [
      { timestamp: at(24 * HOUR_MS + 1), metrics: { a: 1 } },
      { timestamp: at(0).replace("Z", ""), metrics: { a: 1 } },
      { timestamp: at(0) },
      7,
    ];
    const many = Array.from({ length: 58 }, () => good);
    await push("metrics:report", { reports: [...bad, ...many] });
    await push("metrics:report", {});
    assert.equal(record.metrics.length, 56);
    assert.deepEqual(dropped(), [
      "2 reports over 60",
      "a report of another day",
      ...["a report without metrics or a time", "a report without metrics or a time"],
      ...["a report without metrics or a time", "a message without reports"],
    ]);
  });

  it("metrics: five messages at once, then one a second; empty ones cost nothing", async () => {
    await attach("metrics", "0.1.0");
    const reports = [{ timestamp: at(0), metrics: { a: 1 } }];
    for (let n = 0; n < 10; n += 1) await push("metrics:report", { reports: [] });
    for (let n = 0; n < 6; n += 1) await push("metrics:report", { reports });
    assert.equal(record.metrics.length, 5);
    await clock.advance(1000);
    await push("metrics:report", { reports });
    assert.equal(record.metrics.length, 6);
    assert.deepEqual(dropped(), ["a message over the rate limit"]);
  });

  for (const [api, kept] of [
    ["2.3", 21],
    ["2.4", 20],
  ] as const)
    it(`health: a hub of API ${api} keeps ${kept} names of 21`, async () => {
      await attach("health", "0.0.1", api);
      await push("health:report", { value: { metrics: numbers(21), alarms: { hot: "90 °C" } } });
      assert.equal(Object.keys(record.metrics[0]?.metrics ?? {}).length, kept);
      assert.deepEqual(dropped(), kept === 21 ? [] : ["m20"]);
      await push("health:report", { value: { metrics: {} } });
      assert.equal(record.alarms.has("hot"), api === "2.4", "a missing key says nothing to today's hub");
      await push("health:report", { value: { metrics: {}, alarms: {} } });
      assert.equal(record.alarms.size, 0);
    });

  it("alarms: asked for at once; the set replaces what is stored, and events change it", async () => {
    await attach("alarms", "0.1.0");
    assert.equal(await heard("alarms:sync"), 1);
    const hot = { alarm: "hot", description: "90 °C", raised_at: at(-HOUR_MS) };
    await push("alarms:snapshot", { alarms: [hot] });
    await push("alarms:raised", { ...hot, description: "95 °C", raised_at: at(0) });
    assert.deepEqual(
      [...record.alarms],
      [["hot", { description: "95 °C", raisedAtMs: clock.now() - HOUR_MS }]],
    );
    await push("alarms:raised", { alarm: "wet" });
    await push("alarms:cleared", { alarm: "hot", cleared_at: at(-1) });
    await push("alarms:snapshot", { alarms: [] });
    assert.deepEqual(
      record.alarmHistory.map(({ alarm, event, atMs }) => [alarm, event, atMs - clock.now()]),
      [
        ["hot", "raised", -HOUR_MS],
        ["wet", "raised", 0],
        ["hot", "resolved", -1],
        ["wet", "resolved", 0],
      ],
    );
  });

  it("alarms: a time that is not believable is that of the message, and one bad entry rejects the set", async () => {
    await attach("alarms", "0.1.0");
    await push("alarms:raised", { alarm: "old", raised_at: at(-73 * HOUR_MS) });
    await push("alarms:raised", { alarm: "ahead", raised_at: at(2 * HOUR_MS) });
    assert.deepEqual(
      [...record.alarms.values()].map(({ raisedAtMs }) => raisedAtMs - clock.now()),
      [0, 0],
    );
    for (const entry of [{}, { alarm: "" }, { alarm: "x".repeat(256) }, 7])
      await push("alarms:snapshot", { alarms: [{ alarm: "new" }, entry] });
    assert.deepEqual([...record.alarms.keys()], ["old", "ahead"]);
    assert.equal(dropped().length, 4);
  });

  it("alarms: ten messages at once; 10 s after it dropped some, the hub asks for all", async () => {
    await attach("alarms", "0.1.0");
    for (let n = 0; n < 13; n += 1) await push("alarms:raised", { alarm: `a${n}` });
    assert.equal(record.alarms.size, 10);
    assert.deepEqual(dropped(), Array(3).fill("a message over the rate limit"));
    await clock.advance(9999);
    assert.equal(await heard("alarms:sync"), 1);
    await clock.advance(1);
    assert.equal(await heard("alarms:sync"), 2);
    await push("alarms:snapshot", { alarms: [{ alarm: "a12" }] });
    assert.deepEqual([...record.alarms.keys()], ["a12"]);
    await clock.advance(20_000);
    assert.equal(await heard("alarms:sync"), 2);
    for (let n = 0; n < 11; n += 1) await push("alarms:raised", { alarm: `a${n}` });
    await clock.advance(2000);
    await push("alarms:snapshot", { alarms: [] });
    await clock.advance(20_000);
    assert.equal(await heard("alarms:sync"), 2, "a snapshot that came by itself says it all");
  });

  it("components: keeps what it can use of a report, and cuts a result", async () => {
    await attach("components", "0.0.1");
    assert.equal(await heard("components:request"), 1);
    const mode = { identifier: "speed", values: ["low", 1, ""], metadata_key: " " };
    const pump = { identifier: " pump ", actions: [{ label: "x" }], modes: [mode, { identifier: "none" }] };
    await push("components:report", { assemblies: [{ identifier: "a", components: [pump, pump, 7] }, {}] });
    const [member, ...rest] = record.topology?.assemblies[0]?.members ?? [];
    assert.deepEqual(rest, []);
    assert.equal(member?.identifier, "pump");
    assert.deepEqual(member.actions, []);
    assert.deepEqual(
      member.modes.map(({ identifier, metadataKey, values }) => [identifier, metadataKey, values]),
      [["speed", "speed", ["low"]]],
    );
    const large = Array.from({ length: 100 }, (_, n) => ({ identifier: `${n}`, label: "x".repeat(200) }));
    const groups = Array.from({ length: 5 }, (_, n) => ({ identifier: `${n}`, components: large }));
    await push("components:report", { assemblies: groups });
    assert.equal(record.topology?.assemblies.length, 1, "more than 64 KiB are not stored");
    assert.deepEqual(dropped(), ["a report"]);
    await push("components:action:result", { ref: "1", output: "x".repeat(9000), status: 1 });
    const [result] = record.componentResults;
    assert.deepEqual(
      [result?.["ref"], result?.["output"]?.length, result?.["status"]],
      ["1", 8192, undefined],
    );
  });

  it("survives 3000 reports of any shape", async () => {
    await attach("metrics", "0.1.0");
    device.send(["2", "2", "extensions", "phx_join", { alarms: "0.1.0", health: "0.0.1", metrics: "0.1.0" }]);
    const text = fc.oneof(fc.string(), fc.constantFrom("hot", "__proto__", at(0), at(-HOUR_MS)));
    const alarm = fc.record(
      { alarm: text, description: fc.jsonValue({ maxDepth: 1 }), raised_at: text, cleared_at: text },
      { requiredKeys: ["alarm"] },
    );
    const metrics = fc.dictionary(text, fc.jsonValue({ maxDepth: 0 }));
    const report = fc.record({ timestamp: text, metrics: fc.oneof(metrics, fc.jsonValue({ maxDepth: 1 })) });
    const any = fc.jsonValue({ maxDepth: 2 });
    const message = fc.oneof(
      fc.tuple(fc.constant("metrics:report"), fc.oneof(fc.record({ reports: fc.array(report) }), any)),
      fc.tuple(fc.constant("alarms:snapshot"), fc.oneof(fc.record({ alarms: fc.array(alarm) }), any)),
      fc.tuple(fc.constantFrom("alarms:raised", "alarms:cleared"), fc.oneof(alarm, any)),
      fc.tuple(
        fc.constant("health:report"),
        fc.record({ value: fc.oneof(fc.record({ metrics, alarms: metrics }), any) }),
      ),
    );
    for (const name of ["alarms", "health", "metrics"])
      device.send(["2", null, "extensions", `${name}:attached`, {}]);
    for (const [event, payload] of fc.sample(message, { numRuns: 3000, seed: 42 })) {
      device.send(["2", null, "extensions", event, payload]);
      await clock.advance(500);
    }
    assert.equal(await device.beat(), "answered");
    assert.deepEqual(record.crashes, []);
    assert.ok(record.metrics.length > 100 && record.alarmHistory.length > 100 && record.dropped.length > 100);
  });

  it("error_reports: drops what exceeds the rate, the 25 of a message, or lacks something", async () => {
    await attach("error_reports", "0.1.0");
    const report = {
      timestamp: at(0),
      kind: "error",
      reason: "r".repeat(3000),
      frames: [{}, 1],
      context: { a: 1 },
    };
    const reports = Array.from({ length: 27 }, () => report);
    await push("error_reports:report", { reports: [...reports.slice(0, 20), { kind: "x" }, ...reports] });
    assert.deepEqual(dropped(), ["23 reports over 25", "a report without a time, a kind or a reason"]);
    assert.equal(record.errors.length, 24);
    const { reason, frames, context } = record.errors[0] ?? {};
    assert.deepEqual([reason?.length, frames, context], [2048, [{}], {}]);
    await push("error_reports:report", { reports: [] });
    for (let n = 0; n < 5; n += 1) await push("error_reports:report", { reports: [report] });
    assert.equal(record.errors.length, 28, "a burst of five messages, an empty one costs nothing");
    assert.equal(dropped().at(-1), "a message over the rate limit");
    await minutes(1);
    await push("error_reports:report", { reports: [report] });
    assert.equal(record.errors.length, 29);
  });
});
