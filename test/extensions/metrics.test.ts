/** The extension metrics: what is measured, kept and sent; and which numbers a report has. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ExtensionContext } from "../../src/extensions/extension.ts";
import { ApplicationMetrics, type Metrics } from "../../src/extensions/health-metrics.ts";
import { MetricHistory } from "../../src/extensions/metric-history.ts";
import { MetricSampler, MetricsExtension } from "../../src/extensions/metrics.ts";
import { ReportMetrics } from "../../src/extensions/report-metrics.ts";
import { silentLog } from "../../src/platform/log.ts";
import { recordingLog } from "../board/recording-log.ts";
import { FakeClock } from "../platform/fake-clock.ts";

interface Report {
  readonly timestamp: string;
  readonly metrics: Metrics;
}

const HOUR_MS = 3_600_000;

describe("the metrics extension", () => {
  const setUp = (intervalMs = 60_000) => {
    const clock = new FakeClock();
    const lines: string[] = [];
    const board = {
      readings: 0,
      read: async (): Promise<Metrics> => Promise.resolve({ n: board.readings++ }),
    };
    const sampler = new MetricSampler({
      ...{ intervalMs, clock, log: recordingLog(lines) },
      read: async () => board.read(),
    });
    const hub = { takes: true, batches: [] as (readonly Report[])[] };
    const state = { clockIsSet: true };
    const extension = new MetricsExtension({ sampler, clock, clockIsSet: () => state.clockIsSet });
    const attach = () => {
      const context: ExtensionContext = {
        ...{ clock, version: "0.1.0", log: silentLog, signal: new AbortController().signal },
        fail: (error) => assert.fail(String(error)),
        push(event, payload) {
          assert.equal(event, "report");
          if (hub.takes) hub.batches.push((payload as { readonly reports: readonly Report[] }).reports);
          return hub.takes;
        },
      };
      const running = extension.start(context);
      return { check: async () => running.onMessage("check", {}) };
    };
    return { clock, sampler, board, hub, state, attach, lines };
  };
  const values = (reports: readonly Report[]): unknown[] => reports.map(({ metrics }) => metrics["n"]);

  it("measures while there is no hub, and sends all of it with its times when the hub asks", async () => {
    const { clock, sampler, hub, attach } = setUp();
    sampler.start();
    const startMs = clock.now();
    await clock.advance(150_000);
    await attach().check();
    assert.deepEqual(hub.batches, [
      [
        { timestamp: new Date(startMs + 60_000).toISOString(), metrics: { n: 0 } },
        { timestamp: new Date(startMs + 120_000).toISOString(), metrics: { n: 1 } },
        { timestamp: new Date(startMs + 150_000).toISOString(), metrics: { n: 2 } },
      ],
    ]);
    sampler.stop();
  });

  it("sends nothing until the hub asks, and each reading once", async () => {
    const { clock, sampler, hub, attach } = setUp();
    sampler.start();
    const { check } = attach();
    await clock.advance(600_000);
    assert.equal(hub.batches.length, 0);
    await check();
    await clock.advance(5000);
    assert.deepEqual(hub.batches.map(values), [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]);
    sampler.stop();
    await clock.advance(0);
    assert.equal(clock.pending, 0, "nothing runs after the stop");
  });

  it("keeps a day, and sends it in batches of 60, one a second, the oldest first", async () => {
    const { clock, sampler, hub, attach } = setUp();
    sampler.start();
    await clock.advance(30 * HOUR_MS);
    await attach().check();
    await clock.advance(1000);
    assert.equal(hub.batches.length, 1);
    await clock.advance(60_000);
    assert.equal(hub.batches.length, 24);
    assert.ok(hub.batches.every((batch) => batch.length <= 60));
    const sent = hub.batches.flatMap(values);
    assert.deepEqual([sent[0], sent.at(-1)], [360, 1799]);
    assert.deepEqual(
      sent,
      [...sent].sort((a, b) => Number(a) - Number(b)),
    );
    sampler.stop();
  });

  it("forgets what is older than a day, which the hub would not take", async () => {
    const { clock, sampler, hub, attach } = setUp(120_000);
    sampler.start();
    await clock.advance(30 * HOUR_MS);
    await attach().check();
    await clock.advance(60_000);
    const oldestMs = Date.parse(hub.batches[0]?.[0]?.timestamp ?? "");
    assert.ok(clock.now() - oldestMs < 24 * HOUR_MS + 60_000 && hub.batches.flat().length === 720);
    sampler.stop();
  });

  it("keeps what the connection did not take, and sends it when it does", async () => {
    const { clock, hub, attach } = setUp();
    hub.takes = false;
    await attach().check();
    await clock.advance(10_000);
    assert.equal(hub.batches.length, 0);
    hub.takes = true;
    await clock.advance(10_000);
    assert.deepEqual(hub.batches.map(values), [[0]]);
  });

  it("with an interval of 0 answers the hub with one reading, and measures nothing else", async () => {
    const { clock, sampler, board, hub, attach } = setUp(0);
    sampler.start();
    const { check } = attach();
    await clock.advance(HOUR_MS);
    assert.deepEqual([board.readings, clock.pending], [0, 0]);
    await check();
    assert.deepEqual(hub.batches.map(values), [[0]]);
  });

  it("sends nothing while the clock is not set; then its readings have the times that were", async () => {
    const { clock, sampler, hub, state, attach } = setUp();
    clock.jump(-clock.now()); // 1970
    state.clockIsSet = false;
    sampler.start();
    await clock.advance(60_000);
    const { check } = attach();
    await check();
    await clock.advance(60_000);
    assert.equal(hub.batches.length, 0);
    const now = Date.UTC(2026, 5, 1);
    clock.jump(now - clock.now());
    state.clockIsSet = true;
    await check();
    assert.deepEqual(
      hub.batches.flat().map(({ timestamp }) => Date.parse(timestamp) - now),
      [-60_000, 0],
    );
    sampler.stop();
  });

  it("goes on after a reading that failed, and after one that hangs", async () => {
    const { clock, sampler, board, lines } = setUp();
    const { read } = board;
    sampler.start();
    board.read = async () => Promise.reject(new Error("no disk"));
    await clock.advance(60_000);
    assert.match(lines.join("\n"), /nothing was measured: no disk/);
    board.read = async () => new Promise(() => undefined);
    await clock.advance(70_000);
    board.read = read;
    await clock.advance(60_000);
    assert.equal(sampler.history.count, 1);
    board.read = async () => new Promise(() => undefined);
    await clock.advance(60_000);
    sampler.stop();
    await clock.advance(10_000);
    assert.equal(clock.pending, 0, "also when it is stopped while it measures");
  });
});

describe("the readings that wait", () => {
  const add = (history: MetricHistory, n: number, metrics: Metrics = { n }): void =>
    history.add({ atMonotonicMs: n, metrics });

  it("are 1440 at most; the oldest make room", () => {
    const history = new MetricHistory();
    for (let n = 0; n < 2000; n += 1) add(history, n);
    assert.equal(history.count, 1440);
    assert.deepEqual(history.oldest(2, 2000), [
      { atMonotonicMs: 560, metrics: { n: 560 } },
      { atMonotonicMs: 561, metrics: { n: 561 } },
    ]);
    history.drop(1439);
    assert.deepEqual(history.oldest(5, 2000), [{ atMonotonicMs: 1999, metrics: { n: 1999 } }]);
    history.drop(5);
    assert.deepEqual([history.count, history.newestMs], [0, undefined]);
  });

  it("are as they were measured, when names come and go", () => {
    const history = new MetricHistory();
    const sets = [{ a: 1, b: 2 }, { b: 3 }, { a: 4, b: 5 }, {}, { 7: 1, a: 6 }];
    sets.forEach((metrics, n) => add(history, n, metrics));
    assert.deepEqual(
      history.oldest(9, 9).map(({ metrics }) => metrics),
      sets,
    );
  });

  it("have 16 sets of names at most: an application that renames its metrics costs readings, not memory", () => {
    const history = new MetricHistory();
    for (let n = 0; n < 100; n += 1) add(history, n, { [`m${n}`]: n });
    assert.deepEqual([history.count, history.oldest(1, 100)[0]?.metrics], [16, { m84: 84 }]);
  });
});

describe("the numbers of a report", () => {
  const numbered = (prefix: string, count: number): Record<string, number> =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`${prefix}${n}`, n]));
  const setUp = (values: Metrics) => {
    const lines: string[] = [];
    const application = new ApplicationMetrics();
    for (const [name, value] of Object.entries(values))
      assert.equal(application.merge({ [name]: value }), undefined);
    const report = new ReportMetrics(recordingLog(lines));
    return {
      lines,
      choose: (core: Metrics, interfaces: Metrics) => report.choose({ core, interfaces }, application.values),
    };
  };

  it("are 20: the board's own, then the application's in the order they came, then the interfaces'", () => {
    const { choose, lines } = setUp({ zulu: 1, 9: 2, alpha: 3 });
    const chosen = choose(numbered("core", 11), numbered("eth", 10));
    assert.deepEqual(chosen, { ...numbered("core", 11), zulu: 1, 9: 2, alpha: 3, ...numbered("eth", 6) });
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", /takes 20 metrics in a report.*eth6, eth7, eth8, eth9/);
    choose(numbered("core", 11), numbered("eth", 10));
    assert.equal(lines.length, 1, "it says so once");
  });

  it("leave out the application's last ones, and name them", () => {
    const { choose, lines } = setUp({ 9: 2, ...numbered("app", 10) });
    const chosen = choose(numbered("core", 11), { eth0: 1 });
    assert.deepEqual(chosen, { ...numbered("core", 11), 9: 2, ...numbered("app", 8) });
    assert.match(lines[0] ?? "", /app8, app9, eth0/);
  });

  it("have the board's number for a name that the application has too", () => {
    const { choose } = setUp({ load_1min: 99, eth0: 99, own: 1 });
    assert.deepEqual(choose({ load_1min: 1 }, { eth0: 2 }), { load_1min: 1, eth0: 2, own: 1 });
  });

  it("never have a name of more than 64 bytes, or a value that is no number", () => {
    const { choose } = setUp({});
    const fits = "é".repeat(32);
    assert.deepEqual(choose({ [fits]: 1, [`${fits}x`]: 2, nan: NaN, inf: Infinity }, {}), { [fits]: 1 });
  });
});
