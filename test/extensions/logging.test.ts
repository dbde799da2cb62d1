/** How the logging extension limits its lines. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ExtensionContext } from "../../src/extensions/extension.ts";
import { Logging } from "../../src/extensions/logging.ts";
import { silentLog } from "../../src/platform/log.ts";
import { eventually } from "../eventually.ts";
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
    const batches: (readonly Sent[])[] = [];
    const line = { open: true };
    const attach = (version = "0.0.1") => {
      const ending = new AbortController();
      const context: ExtensionContext = {
        ...{ clock, version },
        log: silentLog,
        signal: ending.signal,
        fail: (error) => assert.fail(String(error)),
        push(event, payload) {
          assert.equal(event, "send");
          if (line.open && version === "0.0.1") sent.push(payload as Sent);
          else if (line.open) batches.push((payload as { readonly lines: readonly Sent[] }).lines);
          return line.open;
        },
      };
      const running = logging.start(context);
      return async () => {
        ending.abort();
        await running.stop?.();
      };
    };
    return { clock, logging, sent, batches, line, attach };
  };
  const add = (logging: Logging, count: number, from = 0): void => {
    for (let n = from; n < from + count; n += 1) {
      logging.add({ level: "info", scope: "hub", message: `line ${n}`, fields: {} });
    }
  };

  it("sends the lines of its command as text: colors, titles and turned text are visible", async () => {
    const { clock, sent, attach } = setUp(
      String.raw`printf '\033[31mred\033[0m \302\233x \342\200\256gnp\n'`,
    );
    const detach = attach();
    await eventually(async () => {
      await clock.advance(0);
      return sent.length > 0;
    }, "a line");
    assert.equal(sent[0]?.message, String.raw`\x1b[31mred\x1b[0m \x9bx \u202egnp`);
    await detach();
  });

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

  it("keeps 1000 lines from before the hub attaches it, for a hub that takes batches", async () => {
    const { clock, logging, batches, attach } = setUp();
    add(logging, 1200);
    attach("0.1.0");
    await clock.advance(3000);
    const lines = batches.flat();
    assert.equal(lines[0]?.message, "200 log lines were dropped: more than the hub takes");
    assert.deepEqual(
      [lines[1]?.message, lines.at(-1)?.message, lines.length],
      ["line 200", "line 1199", 1001],
    );
    assert.ok(batches.every((batch) => batch.length <= 100));
  });

  it("sends batches at the hub's pace: ten at once, then five a second", async () => {
    const { clock, logging, batches, attach } = setUp();
    attach("0.1.0");
    await clock.advance(0);
    add(logging, 1000);
    await clock.advance(1000);
    assert.equal(batches.length, 10);
    add(logging, 1000);
    await clock.advance(1000);
    assert.equal(batches.length, 15);
  });

  it("sends lines that come within a second in one batch", async () => {
    const { clock, logging, batches, attach } = setUp();
    attach("0.1.0");
    await clock.advance(0);
    add(logging, 3);
    await clock.advance(999);
    assert.equal(batches.length, 0);
    await clock.advance(1);
    assert.deepEqual(
      batches.map((batch) => batch.map(({ message }) => message)),
      [["line 0", "line 1", "line 2"]],
    );
    assert.equal(clock.pending, 0, "no timer runs while nothing waits");
  });

  it("keeps no more than 256 KiB, and splits a batch of long lines", async () => {
    const { clock, logging, batches, attach } = setUp();
    for (let n = 0; n < 100; n += 1) {
      logging.add({ level: "info", scope: "hub", message: "x".repeat(4096), fields: {} });
    }
    attach("0.1.0");
    await clock.advance(2000);
    assert.equal(batches.flat().length, 1 + 64);
    assert.ok(batches.every((batch) => batch.length <= 17));
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
