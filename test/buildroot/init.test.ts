/**
 * The package's init scripts, run as a board runs them. A supervisor that waited for a hanging agent without
 * a limit once kept a board from rebooting.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { IDENTIFIER, type TestBoard } from "../agent/board.ts";
import { eventually } from "../eventually.ts";
import { missing } from "./card.ts";
import { cannotIsolate, install, PACKAGE } from "./installed.ts";
import { bootSystem, type System } from "./system.ts";

const cannotSysV = cannotIsolate || missing("busybox");
describe("the SysV init script, by busybox's programs", { skip: cannotSysV }, () => {
  let board: TestBoard;
  let hublink: string;
  let system: System | undefined;
  before(async () => ({ board, hublink } = await install()));
  afterEach(() => system?.end());
  after(async () => board.remove());

  it("starts the agent once, reloads it, restarts it when it dies, and stops it", async () => {
    const device = board.hub.device(IDENTIFIER);
    const messages = join(board.dir, "messages");
    system = await bootSystem({ HUBLINK: hublink });
    const { run, script } = system;
    await run(`busybox syslogd -O ${messages}`); // listens in /dev
    await run("agents() { grep -lsa '[h]ublink\\.cjs' /proc/[0-9]*/cmdline | cut -d/ -f3; }");

    assert.equal(await script("start"), "Starting hublink: OK\n");
    await board.hub.until(() => device.online);
    assert.equal(await script("start"), "Starting hublink: already running\n");

    const connections = device.joins.length;
    assert.equal(await script("reload"), "Reloading hublink config: OK\n");
    await board.hub.until(() => device.joins.length > connections && device.online);

    const lives = device.joins.length;
    await run("kill -9 $(agents)");
    await board.hub.until(() => device.joins.length > lives && device.online);

    assert.equal(await script("stop"), "Stopping hublink: OK\n");
    await board.hub.until(() => !device.online);
    await run('test -z "$(agents)"');
    await run("test ! -e /var/run/hublink.pid");
    assert.match(await readFile(messages, "utf8"), /hublink: .*hublink started/);
  });

  it("kills an agent that hangs, so that the board can reboot", async () => {
    const started = join(board.dir, "hangs");
    const agent = join(board.dir, "hanging-agent");
    await writeFile(
      agent,
      `#!${process.execPath}
      process.on("SIGTERM", () => process.exit());
      require("node:fs").writeFileSync(${JSON.stringify(started)}, String(process.pid));
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); // its event loop stands still
      `,
      { mode: 0o755 },
    );
    system = await bootSystem({ HUBLINK: agent, HUBLINK_STOP_S: "1" });
    const { run, script } = system;
    await script("start");
    await eventually(() => existsSync(started), "the hanging agent's start");
    assert.equal(await script("stop"), "Stopping hublink: OK\n");
    await run(`test ! -e /proc/$(cat ${started})`);
    await run("test ! -e /var/run/hublink.pid");
  });

  it("kills the supervisor if it does not end either", async () => {
    const started = join(board.dir, "stays");
    system = await bootSystem({ HUBLINK_STOP_S: "0" });
    const { run, script } = system;
    await run(`printf '%s\\n' '#!/bin/sh' 'trap "" TERM' 'echo $$ > ${started}' 'while :; do sleep 1; done' \
      > /usr/libexec/hublink-supervise`);
    await script("start");
    await eventually(() => existsSync(started), "the supervisor's start");
    assert.equal(await script("stop"), "Stopping hublink: OK\n");
    await run(`test ! -e /proc/$(cat ${started})`);
  });
});

describe("the systemd unit", { skip: missing("systemd-analyze") }, () => {
  it("is valid for systemd, with the sandbox and without", async () => {
    const folder = await mkdtemp(join(tmpdir(), "hublink-unit-"));
    const unit = join(folder, "hublink.service");
    const verify = (): string => {
      const { stdout, stderr, status } = spawnSync("systemd-analyze", ["verify", unit], { encoding: "utf8" });
      return `${stdout}${stderr}${status ?? ""}`;
    };
    try {
      const text = await readFile(join(PACKAGE, "hublink.service"), "utf8");
      await writeFile(unit, text.replace("/usr/bin/hublink", process.execPath));
      assert.equal(verify(), "0");
      await cp(join(PACKAGE, "open.conf"), `${unit}.d/open.conf`, { recursive: true });
      assert.equal(verify(), "0");
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
