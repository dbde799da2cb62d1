/** The list of alarms: what is raised, what it damps, and what applications may do to it. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { controlMethods, type ControlDeps } from "../../src/agent/control-methods.ts";
import { AlarmList } from "../../src/extensions/alarm-list.ts";
import { ApplicationAlarms } from "../../src/extensions/application-alarms.ts";
import type { Caller } from "../../src/control/server.ts";
import { Failure } from "../../src/platform/failure.ts";
import { recordingLog } from "../board/recording-log.ts";
import { FakeClock } from "../platform/fake-clock.ts";

const MINUTE_MS = 60_000;

const setUp = () => {
  const clock = new FakeClock();
  const lines: string[] = [];
  const list = new AlarmList(clock, recordingLog(lines));
  const events: string[] = [];
  list.on("raised", ({ name }) => events.push(`raised ${name}`));
  list.on("changed", ({ name, description }) => events.push(`changed ${name}: ${description}`));
  list.on("cleared", (name, goneMs) => events.push(`cleared ${name} ${goneMs}`));
  return { clock, lines, list, events };
};

describe("the list of alarms", () => {
  it("has what is raised, with its first time and its last description", async () => {
    const { clock, list, events } = setUp();
    await clock.advance(5);
    list.raise("hot", "90 °C");
    await clock.advance(5);
    list.raise("hot", "95 °C");
    list.raise("hot", "95 °C");
    const [hot] = list.current;
    assert.deepEqual(
      [hot?.name, hot?.description, hot?.raisedMs, list.current.length],
      ["hot", "95 °C", 5, 1],
    );
    list.clear("hot");
    list.clear("hot");
    assert.deepEqual(events, ["raised hot", "changed hot: 95 °C", "cleared hot 10"]);
    assert.deepEqual(list.current, []);
  });

  it("keeps one raised that comes and goes for the third time in ten minutes, and says so", async () => {
    const { clock, lines, list, events } = setUp();
    for (let n = 0; n < 50; n += 1) {
      list.raise("wet", "water");
      await clock.advance(1000);
      list.clear("wet");
      await clock.advance(1000);
    }
    const damped = "water; it comes and goes, and stays raised until it has been gone for 10 minutes";
    assert.deepEqual(events, [
      ...["raised wet", "cleared wet 1000", "raised wet", "cleared wet 3000", "raised wet"],
      `changed wet: ${damped}`,
    ]);
    assert.equal(list.current[0]?.description, damped);
    assert.deepEqual(lines, [
      "warn alarm wet: it comes and goes, and stays raised until it has been gone for 10 minutes",
    ]);
    await clock.advance(10 * MINUTE_MS - 1001);
    assert.equal(list.current.length, 1);
    await clock.advance(1);
    assert.equal(events.at(-1), "cleared wet 99000", "at the time at which it went");
    assert.deepEqual([list.current.length, clock.pending], [0, 0]);
    list.raise("wet", "water");
    list.clear("wet");
    assert.deepEqual(events.slice(-2), ["raised wet", "cleared wet 699000"], "it starts over");
  });

  it("does not damp one that comes every five minutes, nor others beside it", async () => {
    const { clock, list, events } = setUp();
    for (let n = 0; n < 6; n += 1) {
      list.raise("slow", "");
      list.raise(`other${n}`, "");
      list.clear("slow");
      list.clear(`other${n}`);
      await clock.advance(5 * MINUTE_MS);
    }
    assert.equal(events.length, 24);
    assert.deepEqual(list.current, []);
  });

  it("leaves no timer behind when it is stopped", async () => {
    const { clock, list } = setUp();
    for (let n = 0; n < 3; n += 1) {
      list.raise("wet", "");
      list.clear("wet");
    }
    assert.equal(clock.pending, 1);
    list.stop();
    await clock.advance(0);
    assert.equal(clock.pending, 0);
  });
});

describe("an application's alarms", () => {
  const methods = () => {
    const { list } = setUp();
    // The other methods are not called.
    const deps = { applicationAlarms: new ApplicationAlarms(list) } as unknown as ControlDeps;
    const { alarm_raise: raise, alarm_clear: clear } = controlMethods(deps);
    assert(raise && clear);
    const caller: Caller = {
      gone: new AbortController().signal,
      ask: async () => Promise.reject(new Error()),
    };
    return {
      list,
      raise: (params: unknown) => raise(params, caller),
      clear: (params: unknown) => clear(params, caller),
    };
  };

  it("are raised and cleared, with text that is printable and without secrets", () => {
    const { list, raise, clear } = methods();
    const description = "\u001b[31mno answer\n https://u:p@pump/?token=1";
    assert.deepEqual(raise({ alarm: "pump.dry", description }), {});
    assert.deepEqual(raise({ alarm: "plain" }), {});
    assert.deepEqual(
      list.current.map((alarm) => [alarm.name, alarm.description]),
      [
        ["pump.dry", String.raw`\x1b[31mno answer\n https://…@pump/?…`],
        ["plain", ""],
      ],
    );
    assert.deepEqual(clear({ alarm: "pump.dry" }), {});
    assert.deepEqual(clear({ alarm: "pump.dry" }), {}, "clearing twice does no harm");
    assert.equal(list.current.length, 1);
  });

  it("are 32 at most beside the agent's own, and one that is raised can still change", () => {
    const { list, raise, clear } = methods();
    list.raise("disk_low", "95 %");
    for (let n = 0; n < 32; n += 1) raise({ alarm: `a${n}` });
    assert.throws(() => raise({ alarm: "one_more" }), /alarm_raise: more than 32 alarms; clear one first/);
    raise({ alarm: "a31", description: "new" });
    assert.equal(list.current.at(-1)?.description, "new");
    clear({ alarm: "a0" });
    raise({ alarm: "one_more" });
  });

  it("can't have a name of the agent's own", () => {
    const { list, raise, clear } = methods();
    list.raise("disk_low", "95 %");
    for (const request of [raise, clear])
      assert.throws(() => request({ alarm: "disk_low" }), /disk_low is an alarm of the agent's own/);
    assert.equal(list.current.length, 1);
  });

  it("with any parameters, are changed or refused as unsupported", () => {
    const { list, raise, clear } = methods();
    const name = fc.oneof(fc.string({ maxLength: 70 }), fc.constantFrom("a", "b", "disk_low", "__proto__"));
    const params = fc.oneof(
      fc.record({ alarm: name, description: fc.oneof(fc.string({ maxLength: 300 }), fc.jsonValue()) }),
      fc.record({ alarm: fc.jsonValue() }),
      fc.jsonValue(),
    );
    fc.assert(
      fc.property(fc.boolean(), params, (isRaise, given) => {
        try {
          assert.deepEqual((isRaise ? raise : clear)(given), {});
        } catch (error) {
          assert.ok(error instanceof Failure && error.code === "unsupported", String(error));
        }
        const names = list.current.map((alarm) => alarm.name);
        assert.ok(names.length <= 32 && names.every((raised) => /^[\w.:-]{1,64}$/.test(raised)));
        assert.ok(list.current.every(({ description }) => description.length <= 256 + 100));
      }),
      { numRuns: 2000 },
    );
  });
});
