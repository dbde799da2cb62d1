/** How the logging extension limits its lines. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ExtensionContext } from "../../src/extensions/extension.ts";
import { Logging } from "../../src/extensions/logging.ts";
import { silentLog } from "../../src/platform/log.ts";
import { FakeClock } from "../platform/fake-clock.ts";

interface Sent {
  readonly level: string;
  readonly message: string;
}

describe("the logging extension", () => {
  const setUp = (command = "") => {
    const clock = new FakeClock();
    const logging = new Logging({ command }, clock);
    const sent: Sent[] = [];
    const line = { open: true };
    const attach = () => {
      const ending = new AbortController();
      const context: ExtensionContext = {
        clock,
        log: silentLog,
        signal: ending.signal,
        fail: (error) => assert.fail(String(error)),
        push(event, payload) {
          assert.equal(event, "send");
          if (line.open) sent.push(payload as Sent);
          return line.open;
        },
      };
      const running = logging.start(context);
      return async () => {
        ending.abort();
        await running.stop?.();
      };
    };
    return { clock, logging, sent, line, attach };
  };
  const add = (logging: Logging, count: number, from = 0): void => {
    for (let n = from; n < from + count; n += 1) {
      logging.add({ level: "info", scope: "hub", message: `line ${n}`, fields: {} });
    }
  };

  it("sends at the hub's pace: ten lines at once, then five a second", async () => {
    const { clock, logging, sent, attach } = setUp();
    attach();
    add(logging, 100);
    await clock.advance(0);
    assert.equal(sent.length, 10);
    await clock.advance(2000);
    assert.equal(sent.length, 20);
    await clock.advance(16_000);
    assert.equal(sent.length, 100);
    assert.equal(clock.pending, 0, "no timer runs while nothing waits");
    add(logging, 1);
    await clock.advance(200);
    assert.equal(sent.length, 101);
  });

  it("keeps 200 lines of a flood, and sends the number of those it dropped", async () => {
    const { clock, logging, sent, attach } = setUp();
    attach();
    add(logging, 10_000);
    await clock.advance(60_000);
    assert.deepEqual(sent[0], {
      ...sent[0],
      level: "warning",
      message: "9800 log lines were dropped: more than the hub takes",
    });
    assert.equal(sent[1]?.message, "line 9800");
    assert.equal(sent.length, 201);
  });

  it("keeps lines while it is detached, and while the line is full", async () => {
    const { clock, logging, sent, line, attach } = setUp();
    const detach = attach();
    await clock.advance(0);
    await detach();
    add(logging, 5);
    await clock.advance(1000);
    assert.equal(sent.length, 0);
    line.open = false;
    attach();
    await clock.advance(1000);
    line.open = true;
    await clock.advance(1000);
    assert.deepEqual(
      sent.map(({ message }) => message),
      ["line 0", "line 1", "line 2", "line 3", "line 4"],
    );
  });

  it("never sends lines about sending, since each would cause the next", async () => {
    const { clock, logging, sent, attach } = setUp();
    attach();
    logging.add({ level: "warn", scope: "logging", message: "the line is slow", fields: {} });
    logging.add({ level: "warn", scope: "hub", message: "extensions: ignored a reply", fields: {} });
    await clock.advance(1000);
    assert.deepEqual(sent, []);
  });

  it("sends Elixir's names of the levels", async () => {
    const { clock, logging, sent, attach } = setUp();
    attach();
    for (const level of ["error", "warn", "info", "debug"] as const) {
      logging.add({ level, scope: "hub", message: level, fields: {} });
    }
    await clock.advance(0);
    assert.deepEqual(
      sent.map(({ level }) => level),
      ["error", "warning", "info", "debug"],
    );
  });
});
