import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { IDENTIFIER, type TestBoard } from "../agent/board.ts";
import { eventually } from "../eventually.ts";
import { missing } from "./card.ts";
import { cannotIsolate, install, isolated, PACKAGE } from "./installed.ts";

const cannotSysV = cannotIsolate || missing("busybox");
describe("the SysV init script, by busybox's programs", { skip: cannotSysV }, () => {
  let board: TestBoard;
  let hublink: string;
  before(async () => ({ board, hublink } = await install()));
  after(async () => board.remove());

  it("starts the agent once, reloads it, has it back when it dies, and stops it", async () => {
    const device = board.hub.device(IDENTIFIER);
    const shell = spawn("unshare", [...isolated, "/bin/sh"], {
      env: { ...process.env, HUBLINK: hublink, PACKAGE },
      stdio: ["pipe", "pipe", "inherit"],
    });
    let said = "";
    shell.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
    /** @returns what it prints */
    const run = async (command: string): Promise<string> => {
      said = "";
      shell.stdin.write(`${command}; echo "=$?"\n`);
      await eventually(() => /^=\d+$/m.test(said), command);
      const [, output = "", status] = /^([^]*)=(\d+)\n$/.exec(said) ?? [];
      assert.equal(status, "0", `${command}: ${output}`);
      return output;
    };
    const script = async (action: string): Promise<string> => run(`sh /run/S95hublink ${action}`);
    const online = async (): Promise<void> => board.hub.until(() => device.online);
    const devices = "/dev/null /dev/zero /dev/random /dev/urandom";
    const messages = join(board.dir, "messages");
    try {
      await run("mount -t tmpfs none /run && mount -t tmpfs none /usr/libexec && mkdir /run/bin");
      await run(`cp "$PACKAGE/S95hublink" /run && cp "$PACKAGE/hublink-supervise" /usr/libexec`);
      const applets = "start-stop-daemon logger mkfifo mkdir chmod rm cut sleep sh";
      await run(`for name in ${applets}; do ln -s "$(command -v busybox)" /run/bin/$name; done`);
      await run("export PATH=/run/bin:$PATH");
      await run(
        `mkdir /run/dev && cp -a ${devices} /run/dev && mount -t tmpfs none /dev && mv /run/dev/* /dev`,
      );
      await run(`busybox syslogd -O ${messages}`); // listens in /dev
      await run("agents() { grep -lsa '[h]ublink\\.cjs' /proc/[0-9]*/cmdline | cut -d/ -f3; }");

      assert.equal(await script("start"), "Starting hublink: OK\n");
      await online();
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
    } finally {
      shell.kill("SIGKILL");
    }
    assert.match(await readFile(messages, "utf8"), /hublink: .*hublink started/);
  });
});

describe("the systemd unit", { skip: missing("systemd-analyze") }, () => {
  it("is one that systemd finds nothing to say about, with the sandbox and without", async () => {
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
