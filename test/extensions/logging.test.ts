import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ExtensionContext } from "../../src/extensions/extension.ts";
import { createLogging, type Logging } from "../../src/extensions/logging.ts";
import { silentLog } from "../../src/platform/log.ts";
import { FakeClock } from "../platform/fake-clock.ts";

interface Sent {
  readonly level: string;
  readonly message: string;
}

describe("what the logging extension sends", () => {
  const setUp = (command = "") => {
    const clock = new FakeClock();
    const logging = createLogging({ command, clock });
    const sent: Sent[] = [];
    const line = { open: true };
    const attach = async () => {
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
      const running = await logging.extension.start(context);
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

  it("no more than the hub takes: ten at once, then five a second", async () => {
    const { clock, logging, sent, attach } = setUp();
    await attach();
    add(logging, 100);
    await clock.advance(0);
    assert.equal(sent.length, 10);
    await clock.advance(2000);
    assert.equal(sent.length, 20);
    await clock.advance(16_000);
    assert.equal(sent.length, 100);
    assert.equal(clock.pending, 0, "and then there is nothing to do");
    add(logging, 1);
    await clock.advance(200);
    assert.equal(sent.length, 101);
  });

  it("a flood costs bounded memory; what is dropped is counted, and the hub is told", async () => {
    const { clock, logging, sent, attach } = setUp();
    await attach();
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

  it("keeps the newest lines while there is no hub, and those that a slow line does not take", async () => {
    const { clock, logging, sent, line, attach } = setUp();
    const detach = await attach();
    await clock.advance(0);
    await detach();
    add(logging, 5);
    await clock.advance(1000);
    assert.equal(sent.length, 0);
    line.open = false;
    await attach();
    await clock.advance(1000);
    line.open = true;
    await clock.advance(1000);
    assert.deepEqual(
      sent.map(({ message }) => message),
      ["line 0", "line 1", "line 2", "line 3", "line 4"],
    );
  });

  it("none of its own, for each would make the next", async () => {
    const { clock, logging, sent, attach } = setUp();
    await attach();
    logging.add({ level: "warn", scope: "logging", message: "the line is slow", fields: {} });
    logging.add({ level: "warn", scope: "hub", message: "extensions: ignored a reply", fields: {} });
    await clock.advance(1000);
    assert.deepEqual(sent, []);
  });

  it("with Elixir's words for the levels", async () => {
    const { clock, logging, sent, attach } = setUp();
    await attach();
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
