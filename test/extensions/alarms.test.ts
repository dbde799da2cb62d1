/** The extension alarms: what is sent, when, with which times, and how much of it. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AlarmList } from "../../src/extensions/alarm-list.ts";
import { AlarmsExtension } from "../../src/extensions/alarms.ts";
import type { ExtensionContext } from "../../src/extensions/extension.ts";
import { silentLog } from "../../src/platform/log.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const MINUTE_MS = 60_000;

describe("the alarms extension", () => {
  const setUp = () => {
    const clock = new FakeClock();
    const list = new AlarmList(clock, silentLog);
    const state = { clockIsSet: true, lineIsOpen: true };
    const extension = new AlarmsExtension({ list, clock, clockIsSet: () => state.clockIsSet });
    const sent: [event: string, payload: Record<string, unknown>][] = [];
    const attach = () => {
      const ending = new AbortController();
      const context: ExtensionContext = {
        ...{ clock, version: "0.1.0", log: silentLog, signal: ending.signal },
        fail: (error) => assert.fail(String(error)),
        push(event, payload) {
          if (ending.signal.aborted || !state.lineIsOpen) return false;
          sent.push([event, payload as Record<string, unknown>]);
          return true;
        },
      };
      const running = extension.start(context);
      assert(!(running instanceof Promise));
      return {
        sync: async () => running.onMessage("sync", {}),
        end: async () => {
          ending.abort();
          await running.stop?.();
        },
      };
    };
    return { clock, list, state, extension, sent, attach };
  };
  const at = (ms: number): string => new Date(Date.UTC(2026, 0, 1) + ms).toISOString();
  const events = (sent: readonly (readonly [string, Record<string, unknown>])[]): string[] =>
    sent.map(([event, { alarm }]) => `${event} ${String(alarm)}`);

  it("sends what is raised and cleared at the moment, with its times", async () => {
    const { clock, list, sent, attach } = setUp();
    attach();
    await clock.advance(1000);
    list.raise("hot", "90 °C");
    assert.deepEqual(sent, [["raised", { alarm: "hot", description: "90 °C", raised_at: at(1000) }]]);
    await clock.advance(1000);
    list.clear("hot");
    assert.deepEqual(sent[1], ["cleared", { alarm: "hot", cleared_at: at(2000) }]);
  });

  it("sends all that are raised when the hub asks, with the time of each, which stays", async () => {
    const { clock, list, sent, attach } = setUp();
    list.raise("early", "");
    await clock.advance(MINUTE_MS);
    list.raise("late", "x");
    const first = attach();
    await clock.advance(MINUTE_MS);
    assert.deepEqual(sent, [], "nothing before the hub asks");
    await first.sync();
    const alarms = [
      { alarm: "early", raised_at: at(0) },
      { alarm: "late", description: "x", raised_at: at(MINUTE_MS) },
    ];
    assert.deepEqual(sent, [["snapshot", { alarms }]]);
    await first.end();
    clock.jump(7000); // NTP
    await attach().sync();
    assert.deepEqual(sent[1], ["snapshot", { alarms }]);
  });

  it("sends no times while the clock is not set; then those that were", async () => {
    const { clock, list, state, sent, attach } = setUp();
    clock.jump(-clock.now()); // 1970
    state.clockIsSet = false;
    const { sync } = attach();
    list.raise("hot", "");
    list.raise("gone", "");
    list.clear("gone");
    assert.deepEqual(
      sent.map(([, payload]) => payload),
      [{ alarm: "hot" }, { alarm: "gone" }, { alarm: "gone" }],
    );
    await clock.advance(MINUTE_MS);
    clock.jump(Date.UTC(2026, 0, 1) - clock.now());
    state.clockIsSet = true;
    await sync();
    assert.deepEqual(sent.at(-1), ["snapshot", { alarms: [{ alarm: "hot", raised_at: at(-MINUTE_MS) }] }]);
  });

  it("sends a new description at once, and further ones once a minute", async () => {
    const { clock, list, sent, attach } = setUp();
    attach();
    list.raise("update", "1 %");
    for (let percent = 2; percent <= 90; percent += 1) {
      list.raise("update", `${percent} %`);
      await clock.advance(1000);
    }
    assert.deepEqual(
      sent.map(([event, { description }]) => [event, description]),
      [
        ["raised", "1 %"],
        ["raised", "2 %"],
        ["raised", "61 %"],
      ],
    );
    list.clear("update");
    await clock.advance(2 * MINUTE_MS);
    assert.deepEqual(events(sent.slice(3)), ["cleared update"], "a cleared alarm is not raised again");
    assert.equal(clock.pending, 0, "no timer runs while nothing waits");
  });

  it("stays below the hub's rate, in order", async () => {
    const { clock, list, sent, attach } = setUp();
    attach();
    for (let n = 0; n < 20; n += 1) list.raise(`a${n}`, "");
    assert.equal(sent.length, 8);
    await clock.advance(10_000);
    const inTime: number = sent.length;
    assert.ok(inTime >= 15 && inTime <= 18, String(inTime));
    await clock.advance(10_000);
    assert.deepEqual(
      events(sent),
      Array.from({ length: 20 }, (_, n) => `raised a${n}`),
    );
  });

  it("sends all alarms in one message when too many wait", async () => {
    const { clock, list, state, sent, attach } = setUp();
    const { sync } = attach();
    state.lineIsOpen = false;
    for (let n = 0; n < 100; n += 1) {
      list.raise(`a${n}`, "");
      if (n > 0) list.clear(`a${n}`);
    }
    await sync();
    state.lineIsOpen = true;
    await clock.advance(60_000);
    assert.equal(sent[0]?.[0], "snapshot");
    assert.ok(sent.length <= 31);
    assert.deepEqual(sent.at(-1), ["snapshot", { alarms: [{ alarm: "a0", raised_at: at(0) }] }]);
  });

  it("sends nothing after it was detached, and knows whether it is attached", async () => {
    const { clock, list, extension, sent, attach } = setUp();
    assert.equal(extension.attached, false);
    const { end } = attach();
    assert.equal(extension.attached, true);
    await end();
    assert.equal(extension.attached, false);
    list.raise("hot", "");
    await clock.advance(MINUTE_MS);
    assert.deepEqual(sent, []);
    assert.equal(list.listenerCount("raised"), 0);
  });
});
