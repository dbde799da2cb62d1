/** How errors are batched, merged, dropped and cut before the hub gets them. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { errorReport, type ReportedError } from "../../src/extensions/error-report.ts";
import { ErrorReports } from "../../src/extensions/error-reports.ts";
import type { ExtensionContext } from "../../src/extensions/extension.ts";
import { describeError, framesOf } from "../../src/platform/defects.ts";
import { silentLog } from "../../src/platform/log.ts";
import { FakeClock } from "../platform/fake-clock.ts";

interface Sent {
  readonly timestamp: string;
  readonly kind: string;
  readonly reason: string;
  readonly context?: Readonly<Record<string, string>>;
}

const error = (reason: string, more: Partial<ReportedError> = {}): ReportedError => ({
  ...{ kind: "error", reason, source: "logger" },
  ...more,
});
/** Errors that are not the same but for a number. */
const distinct = (n: number): string =>
  `error ${String.fromCharCode(97 + (n % 26))}${"x".repeat(Math.floor(n / 26))}`;

describe("the error_reports extension", () => {
  const setUp = () => {
    const clock = new FakeClock();
    const reports = new ErrorReports({
      vitals: () => ({ uptime_ms: "1000" }),
      firmwareUuid: () => "running-uuid",
      clock,
    });
    const messages: (readonly Sent[])[] = [];
    const line = { open: true };
    const attach = () => {
      const context: ExtensionContext = {
        ...{ clock, version: "0.1.0", log: silentLog, signal: new AbortController().signal },
        fail: (problem) => assert.fail(String(problem)),
        push(event, payload) {
          assert.equal(event, "report");
          if (line.open) messages.push((payload as { reports: readonly Sent[] }).reports);
          return line.open;
        },
      };
      const running = reports.start(context);
      return async () => running.stop?.();
    };
    return { clock, reports, messages, line, attach };
  };

  it("sends what comes within a second in one message, with the vitals and the firmware", async () => {
    const { clock, reports, messages, attach } = setUp();
    attach();
    reports.add(error("one", { context: { queue: "uploads" }, frames: [{ module: "a", function: "b" }] }));
    reports.add(error("two", { source: "manual", firmwareUuid: "old-uuid" }));
    await clock.advance(999);
    assert.equal(messages.length, 0);
    await clock.advance(1);
    assert.deepEqual(messages, [
      [
        {
          ...{ timestamp: "2026-01-01T00:00:00.000Z", kind: "error", reason: "one", source: "logger" },
          frames: [{ module: "a", function: "b" }],
          context: { uptime_ms: "1000", queue: "uploads" },
          firmware_uuid: "running-uuid",
        },
        {
          ...{ timestamp: "2026-01-01T00:00:00.000Z", kind: "error", reason: "two", source: "manual" },
          ...{ frames: [], context: { uptime_ms: "1000" }, firmware_uuid: "old-uuid" },
        },
      ],
    ]);
    assert.equal(clock.pending, 0, "no timer runs while nothing waits");
  });

  it("sends 25 in a message and one message a second, five at once", async () => {
    const { clock, reports, messages, attach } = setUp();
    attach();
    for (let n = 0; n < 100; n += 1) reports.add(error(distinct(n)));
    await clock.advance(1000);
    assert.deepEqual(
      messages.map(({ length }) => length),
      [25, 25, 25, 25],
    );
    for (let n = 100; n < 200; n += 1) reports.add(error(distinct(n)));
    await clock.advance(1000);
    assert.equal(messages.length, 6, "two are left: one of the burst, and one of the second");
    await clock.advance(1000);
    assert.equal(messages.length, 7);
  });

  it("is not put off by errors that come in a row", async () => {
    const { clock, reports, messages, attach } = setUp();
    attach();
    for (let n = 0; n < 20; n += 1) {
      reports.add(error(distinct(n)));
      await clock.advance(100);
    }
    assert.equal(messages.length, 2);
  });

  it("counts the same error, and sends it again after ten minutes only", async () => {
    const { clock, reports, messages, attach } = setUp();
    attach();
    for (let n = 0; n < 7; n += 1) reports.add(error(`timeout after ${n} ms`));
    reports.add(error("timeout after 1 ms", { kind: "exit" }));
    await clock.advance(1000);
    assert.deepEqual(
      messages.flat().map(({ kind, reason, context }) => [kind, reason, context?.["times"]]),
      [
        ["error", "timeout after 0 ms", "7"],
        ["exit", "timeout after 1 ms", undefined],
      ],
    );
    for (let n = 0; n < 60; n += 1) {
      reports.add(error("timeout after 5 ms"));
      await clock.advance(9000);
    }
    assert.equal(messages.length, 1);
    await clock.advance(60_000);
    assert.deepEqual(
      messages[1]?.map(({ reason, context }) => [reason, context?.["times"]]),
      [["timeout after 5 ms", "60"]],
    );
  });

  it("keeps the first 100, and reports how many were dropped", async () => {
    const { clock, reports, messages, attach } = setUp();
    for (let n = 0; n < 130; n += 1) reports.add(error(distinct(n)));
    attach();
    await clock.advance(10_000);
    const sent = messages.flat();
    assert.equal(sent[0]?.reason, "30 error reports were dropped: more than the hub takes");
    assert.deepEqual([sent[1]?.reason, sent.at(-1)?.reason, sent.length], [distinct(0), distinct(99), 101]);
    assert.ok(messages.every(({ length }) => length <= 25));
  });

  it("keeps room for the agent's own when applications report too much", async () => {
    const { clock, reports, messages, attach } = setUp();
    for (let n = 0; n < 90; n += 1) reports.add(error(distinct(n), { source: "manual" }));
    reports.add(error("of the agent"));
    attach();
    await clock.advance(10_000);
    const reasons = messages.flat().map(({ reason }) => reason);
    assert.equal(reasons[0], "40 error reports were dropped: more than the hub takes");
    assert.equal(reasons.at(-1), "of the agent");
  });

  it("keeps reports while there is no hub, and counts their times back from a clock that is set late", async () => {
    const { clock, reports, messages, line, attach } = setUp();
    const sent: string[] = [];
    reports.add(error("early"), () => sent.push("early"));
    reports.add(error("of the last boot", { atMs: Date.UTC(2025, 5, 1) }));
    reports.add(error("of no time", { atMs: Number.NaN }));
    await clock.advance(60_000);
    clock.jump(86_400_000);
    line.open = false;
    const detach = attach();
    await clock.advance(10_000);
    await detach();
    assert.deepEqual(sent, []);
    line.open = true;
    attach();
    await clock.advance(1000);
    assert.deepEqual(
      messages.flat().map(({ timestamp }) => timestamp),
      ["2026-01-02T00:00:00.000Z", "2025-06-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"],
    );
    assert.deepEqual(sent, ["early"]);
  });

  it("splits a message of long reports", async () => {
    const { clock, reports, messages, attach } = setUp();
    for (let n = 0; n < 20; n += 1) reports.add(error(distinct(n), { message: "m".repeat(8000) }));
    attach();
    await clock.advance(5000);
    assert.equal(messages.flat().length, 20);
    assert.ok(messages.every(({ length }) => length <= 8));
  });
});

describe("a report", () => {
  it("keeps the hub's limits, holds no secret and no half of a character, whatever its source", () => {
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: "grapheme", maxLength: 12_000 }),
      fc.constantFrom(
        "see https://u:hunter2@host/f?signature=hunter2 now",
        "x".repeat(9000),
        "\ud83d",
        "é😀\0",
        "two\nlines",
      ),
      fc.constant(`${"x".repeat(500)} https://u:hunter2@host/${"y".repeat(9000)}?hunter2`),
    );
    const frame = fc.record(
      { module: text, function: text, file: text, line: fc.double() },
      { requiredKeys: [] },
    );
    const given = fc.record(
      {
        ...{ kind: text, reason: text, message: text, fingerprint: text, firmwareUuid: text },
        source: fc.constantFrom("logger" as const, "manual" as const),
        frames: fc.array(frame, { maxLength: 40 }),
        context: fc.dictionary(text, text, { maxKeys: 40 }),
      },
      { requiredKeys: ["kind", "reason", "source"] },
    );
    const bytes = (value = ""): number => Buffer.byteLength(value);
    fc.assert(
      fc.property(given, (source) => {
        const report = errorReport(source, { uptime_ms: "1" }, undefined);
        assert.ok(bytes(report.reason) <= 2048 && report.reason !== "" && report.kind !== "");
        assert.doesNotMatch(report.reason, /\n/);
        assert.ok(bytes(report.message) <= 8192);
        assert.ok(report.frames.length <= 30);
        const context = Object.entries(report.context);
        assert.ok(context.length <= 32 && context.every(([, value]) => bytes(value) <= 512));
        const whole = JSON.stringify(report);
        assert.doesNotMatch(whole, /hunter2|\\u0000|\\ud[89a-f]/);
      }),
      { numRuns: 500 },
    );
  });

  it("has the frames of an error, the innermost first, and its causes", () => {
    class Pump {
      fail(): never {
        throw new TypeError("no pump at https://u:secret@host/x?key=1", { cause: new Error("no power") });
      }
    }
    const words = ((): ReturnType<typeof describeError> => {
      try {
        return new Pump().fail();
      } catch (thrown) {
        return describeError(thrown);
      }
    })();
    assert.equal(words.reason, "TypeError: no pump at https://…@host/x?…");
    assert.match(words.message, /^TypeError: no pump[^]*caused by: Error: no power/);
    assert.doesNotMatch(JSON.stringify(words), /secret|key=1/);
    const [first] = words.frames;
    assert.deepEqual([first?.module, first?.function], ["Pump", "fail"]);
    assert.match(first?.file ?? "", /error-reports\.test\.ts$/);
    assert.deepEqual(describeError("just text"), { reason: "thrown: just text", message: "", frames: [] });
  });

  it("reads the kinds of frames that V8 writes", () => {
    const stack = [
      "Error: x (y:1:2)",
      "    at async Updater.#start (/opt/hublink.cjs:120:7)",
      "    at new Socket (node:net:400:3)",
      "    at /opt/hublink.cjs:5:1",
      "    at Object.<anonymous> (file:///opt/hublink.cjs:9:1)",
      "    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)",
      "    at <anonymous>",
    ].join("\n");
    assert.deepEqual(
      framesOf(stack).map((frame) => [frame.module, frame.function, frame.file, frame.line]),
      [
        ["Updater", "#start", "/opt/hublink.cjs", 120],
        ["hublink", "new Socket", "node:net", 400],
        ["hublink", undefined, "/opt/hublink.cjs", 5],
        ["Object", "<anonymous>", "/opt/hublink.cjs", 9],
        ["process", "processTicksAndRejections", "node:internal/process/task_queues", 95],
      ],
    );
  });
});
