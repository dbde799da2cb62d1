/** The lines of the log in each format: no secrets, one line each, limited length. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  createLog,
  limitedLog,
  silentLog,
  tappedLog,
  type Level,
  type Log,
  type LogFormat,
  type LogLine,
} from "../../src/platform/log.ts";

import { FakeClock } from "./fake-clock.ts";

const NOW = Date.UTC(2026, 10, 22, 16, 5, 9, 7);

function lines(format: LogFormat, say: (log: Log) => void, level: Level = "info"): string[] {
  const written: string[] = [];
  say(createLog({ level, format, now: () => NOW, write: (line) => written.push(line) }));
  return written;
}

const sample = (log: Log): void => {
  log.scope("hub").warn('refused "twice"', {
    status: 401,
    again: true,
    why: "no such device",
    url: "wss://h/p?sig=SECRET",
    nothing: null,
    unknown: undefined,
  });
};

describe("a line of the log", () => {
  it("as text", () => {
    assert.deepEqual(lines("text", sample), [
      '16:05:09 warn  hub: refused "twice" (status=401 again=true why="no such device" url="wss://h/p?…")',
    ]);
    assert.deepEqual(
      lines("text", (log) => log.info("ready")),
      ["16:05:09 info  hublink: ready"],
    );
  });

  it("as logfmt", () => {
    assert.deepEqual(lines("logfmt", sample), [
      String.raw`ts=2026-11-22T16:05:09.007Z level=warn scope=hub msg="refused \"twice\"" status=401 again=true why="no such device" url="wss://h/p?…"`,
    ]);
  });

  it("as JSON", () => {
    const [line] = lines("json", sample);
    assert.deepEqual(JSON.parse(line ?? ""), {
      ts: "2026-11-22T16:05:09.007Z",
      level: "warn",
      scope: "hub",
      msg: 'refused "twice"',
      status: 401,
      again: true,
      why: "no such device",
      url: "wss://h/p?…",
    });
  });

  it("is written at or above the level asked for", () => {
    const all = (log: Log): void => {
      log.debug("d");
      log.info("i");
      log.warn("w");
      log.error("e");
      log.scope("x").debug("d");
    };
    const counts = (["error", "warn", "info", "debug"] as const).map(
      (level) => lines("text", all, level).length,
    );
    assert.deepEqual(counts, [1, 2, 3, 5]);
  });

  it("holds no secret, in its message or in a field", () => {
    for (const format of ["text", "logfmt", "json"] as const) {
      const [line] = lines(format, (log) =>
        log.error("GET https://h/x.fw?sig=SECRET", {
          proxy: "http://me:SECRET@proxy",
          pin: "pin-value=SECRET",
        }),
      );
      assert(!line?.includes("SECRET"), line);
    }
  });

  it("stays one line, and a terminal does not obey it", () => {
    for (const format of ["text", "logfmt", "json"] as const) {
      const [line] = lines(format, (log) => log.error("a\nb\r\nc\u001b[2J\rd", { e: "f\ng" }));
      assert(line !== undefined && !/[\u0000-\u001f]/.test(line), line);
    }
    assert.deepEqual(
      lines("text", (log) => log.error("a\nb\u001b[2J\u009b")),
      [String.raw`16:05:09 error hublink: a\nb\x1b[2J\x9b`],
    );
  });

  it("shows characters that a terminal obeys or that turn words around, in each format", () => {
    const hostile = "x\u009b2Jy\u202ez\u2028\u200b\ufeff";
    for (const format of ["text", "logfmt", "json"] as const) {
      const [line = ""] = lines(format, (log) => log.error(hostile, { why: hostile }));
      assert.match(line, /^[\x20-\x7e]*$/);
      if (format === "json") {
        const { msg, why } = JSON.parse(line) as Record<string, string>;
        assert.deepEqual([msg, why], [hostile, hostile]);
      }
    }
    let tapped: LogLine | undefined;
    const tap = tappedLog(silentLog, "info", (line) => (tapped = line));
    tap.error(hostile, { why: hostile });
    const shown = String.raw`x\x9b2Jy\u202ez\u2028\u200b\ufeff`;
    assert.deepEqual(tapped && [tapped.message, tapped.fields["why"]], [shown, shown]);
  });

  it("is left out in a flood of its scope and level, and counted", async () => {
    const clock = new FakeClock();
    const flooded = lines("text", () => undefined);
    const log = limitedLog(
      createLog({ level: "info", format: "text", now: () => NOW, write: (line) => flooded.push(line) }),
      clock,
    );
    for (let count = 0; count < 12_600; count += 1) log.scope("hub").warn("malformed keys");
    assert.equal(flooded.length, 100);
    log.scope("hub").error("another level");
    log.scope("update").warn("another scope");
    log.warn("no scope");
    assert.equal(flooded.length, 103);
    await clock.advance(1000);
    log.scope("hub").warn("after the flood");
    assert.deepEqual(flooded.slice(103), [
      "16:05:09 warn  hub: 12500 lines were left out: too many at once",
      "16:05:09 warn  hub: after the flood",
    ]);
  });

  it("is cut when a text is too long, after its secrets were removed", () => {
    const long = `${"x".repeat(4050)} https://me:SECRET${"y".repeat(100)}@h/`;
    const [line] = lines("text", (log) => log.error(long, { event: "z".repeat(2 ** 20) }));
    assert(line !== undefined && line.length < 9000);
    assert(!line.includes("SECRET"));
  });

  it("is not written by a silent log", () => {
    silentLog.error("nothing");
    silentLog.scope("x").error("nothing");
  });
});
