/**
 * The package's init scripts, run as a board runs them. A supervisor that waited for a hanging agent without
 * a limit once kept a board from rebooting.
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { IDENTIFIER, type TestBoard } from "../agent/board.ts";
import { eventually } from "../eventually.ts";
import { missing } from "./card.ts";
import { cannotIsolate, install, isolated, PACKAGE } from "./installed.ts";

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

/** A machine in a namespace of its own, with the package's scripts and busybox's programs. */
interface System {
  /** Runs a command of the shell. @returns what it prints @throws when it fails */
  readonly run: (command: string) => Promise<string>;
  /** Calls S95hublink. @returns what it prints */
  readonly script: (action: string) => Promise<string>;
  /** Ends all of its processes. */
  readonly end: () => void;
}

async function bootSystem(env: Readonly<Record<string, string>>): Promise<System> {
  const shell = spawn("unshare", [...isolated, "/bin/sh"], {
    env: { ...process.env, ...env, PACKAGE },
    stdio: ["pipe", "pipe", "inherit"],
  });
  let printed = "";
  shell.stdout.setEncoding("utf8").on("data", (text: string) => (printed += text));
  const run = async (command: string): Promise<string> => {
    printed = "";
    shell.stdin.write(`${command}; echo "=$?"\n`);
    await eventually(() => /^=\d+$/m.test(printed), command);
    const [, output = "", status] = /^([^]*)=(\d+)\n$/.exec(printed) ?? [];
    assert.equal(status, "0", `${command}: ${output}`);
    return output;
  };
  const applets = "start-stop-daemon logger mkfifo mkdir chmod rm cut sleep sh";
  const devices = "/dev/null /dev/zero /dev/random /dev/urandom";
  try {
    await run("mount -t tmpfs none /run && mount -t tmpfs none /usr/libexec && mkdir /run/bin");
    await run(`cp "$PACKAGE/S95hublink" /run && cp "$PACKAGE/hublink-supervise" /usr/libexec`);
    await run(`for name in ${applets}; do ln -s "$(command -v busybox)" /run/bin/$name; done`);
    await run("export PATH=/run/bin:$PATH");
    await run(
      `mkdir /run/dev && cp -a ${devices} /run/dev && mount -t tmpfs none /dev && mv /run/dev/* /dev`,
    );
  } catch (error) {
    shell.kill("SIGKILL");
    throw error;
  }
  return {
    run,
    script: async (action) => run(`sh /run/S95hublink ${action}`),
    end: () => void shell.kill("SIGKILL"),
  };
}

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
