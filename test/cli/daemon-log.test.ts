/** The format of the log on the daemon's standard error. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { commandLog } from "../../src/cli/config.ts";
import { defaultConfig } from "../../src/config/check.ts";
import { testWorld } from "../platform/world.ts";
import { createScreen } from "./screen.ts";

describe("the daemon's log", () => {
  const line = (isTTY: boolean, format: "auto" | "json"): string => {
    const stderr = createScreen(isTTY ? 80 : undefined);
    const initial = defaultConfig();
    const config = { ...initial, log: { ...initial.log, format } };
    const terminal = { stdin: process.stdin, stdout: stderr, stderr };
    const context = { terminal, env: {}, config: undefined, verbose: false, world: testWorld() };
    commandLog(config, context, "info").info("hello", { n: 1 });
    return stderr.drawn();
  };

  it("is text on a terminal", () =>
    assert.match(line(true, "auto"), /^\d\d:\d\d:\d\d info {2}hublink: hello \(n=1\)\n$/));
  it("is logfmt elsewhere", () =>
    assert.match(line(false, "auto"), /^ts=\S+ level=info scope=hublink msg="?hello"? n=1\n$/));
  it("is JSON if that is configured", () => {
    const { level, scope, msg, n } = JSON.parse(line(true, "json")) as Record<string, unknown>;
    assert.deepEqual({ level, scope, msg, n }, { level: "info", scope: "hublink", msg: "hello", n: 1 });
  });
});
