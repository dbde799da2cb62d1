/** A shell on each terminal backend that the machine has: the same tests for all. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import { Failure } from "../../src/platform/failure.ts";
import { silentLog } from "../../src/platform/log.ts";
import { systemWorld } from "../../src/platform/world.ts";
import { accountOf } from "../../src/remote/account.ts";
import { findTerminalBackend } from "../../src/remote/terminal-backends.ts";
import { type OpenShell, shellOn, untilGone, backendsHere } from "./shell-on.ts";

const isRoot = process.getuid?.() === 0;

for (const { backend, skip } of backendsHere()) {
  describe(`a shell on ${backend.name}`, { skip }, () => {
    let shell: OpenShell;
    afterEach(async () => shell.terminal.end());

    it("runs the commands that are typed, and reports its exit code", async () => {
      shell = await shellOn(backend);
      shell.terminal.type("echo on$((40 + 2))\r");
      await shell.shows(/on42/);
      shell.terminal.type("exit 7\r");
      assert.equal(await shell.exited, 7);
    });

    it("is interrupted by Ctrl-C, and goes on", async () => {
      shell = await shellOn(backend);
      shell.terminal.type("sh -c 'echo be$((1))gin; exec sleep 1000'; echo code $?\r");
      await shell.shows(/be1gin/);
      shell.terminal.type("\u0003");
      await shell.shows(/\^C[^]*[#$] $/); // the kernel drops keys that are typed before
      shell.terminal.type("echo st$((1))ill\r");
      await shell.shows(/st1ill/);
    });

    it("reads 10 kB that are typed at once", async () => {
      shell = await shellOn(backend);
      const lines = Array.from({ length: 200 }, (_, n) => `line ${n} ${"x".repeat(42)}`);
      shell.terminal.type(`cat > /dev/null; echo en$((1))d\r`);
      shell.terminal.type(`${lines.join("\r")}\r\u0004`);
      await shell.shows(/en1d/);
    });

    it("does not inherit the agent's environment, and starts in the home folder", async () => {
      process.env["HUBLINK_SECRET"] = "secret";
      shell = await shellOn(backend);
      delete process.env["HUBLINK_SECRET"];
      shell.terminal.type('echo "[$HUBLINK_SECRET|$TERM|$HOME|$(pwd)]"\r');
      const [, secret, term, home, folder] = await shell.shows(/\[([^|$]*)\|(.*)\|(.*)\|(.*)\]\r$/m);
      assert.equal(secret, "");
      assert.equal(term, "xterm-256color");
      assert.equal(folder, home);
    });

    it("waits with its output while it is paused, and is still interrupted by Ctrl-C", async () => {
      shell = await shellOn(backend);
      shell.terminal.type("yes\r");
      await shell.shows(/y\r\ny/);
      shell.terminal.pause();
      shell.terminal.type("\u0003");
      shell.terminal.resume();
      await shell.shows(/\^C[^]*[#$] $/);
    });

    it("ends everything that runs in it when it is ended", async () => {
      shell = await shellOn(backend);
      const nap = `sleep 8${process.pid}`;
      const stubborn = `sleep 9${process.pid}`;
      shell.terminal.type(`(trap '' HUP TERM; exec ${stubborn}) & ${nap} & echo st$((1))arted; ${nap}\r`);
      await shell.shows(/st1arted/);
      await shell.terminal.end();
      await untilGone(nap);
      await untilGone(stubborn);
      await shell.exited;
    });

    it("ends its background jobs when it exits", async () => {
      shell = await shellOn(backend);
      const nap = `sleep 7${process.pid}`;
      shell.terminal.type(`${nap} &\r`);
      shell.terminal.type("exit\r");
      await shell.exited;
      await untilGone(nap);
    });

    it("leaves nothing behind in the file system", async () => {
      const { TMPDIR } = process.env;
      const own = await mkdtemp(join(tmpdir(), "hublink-temporary-"));
      process.env["TMPDIR"] = own; // other tests use the usual folder at the same time
      try {
        shell = await shellOn(backend);
        shell.terminal.type("exit\r");
        await shell.exited;
        assert.deepEqual(readdirSync(own), []);
      } finally {
        if (TMPDIR === undefined) delete process.env["TMPDIR"];
        else process.env["TMPDIR"] = TMPDIR;
        await rm(own, { recursive: true });
      }
    });

    it(
      "runs as another user, with the user's home and groups",
      { skip: !isRoot && "only root can" },
      async () => {
        shell = await shellOn(backend, { account: accountOf("nobody") });
        shell.terminal.type('echo "[$(id -un)|$(id -Gn)]"\r');
        assert.equal((await shell.shows(/\[([^$]*)\]\r$/m))[1], "nobody|nogroup");
        shell.terminal.type("exit 3\r");
        assert.equal(await shell.exited, 3);
      },
    );

    if (backend.isTerminal) {
      it("has the window's size from the start, and follows each change", async () => {
        shell = await shellOn(backend);
        shell.terminal.type("stty size\r");
        await shell.shows(/30 100\r/);
        for (let rows = 1; rows <= 50; rows += 1) shell.terminal.resize({ rows, columns: 132 });
        shell.terminal.type("until stty size | grep -q 50; do sleep 0.1; done; stty size\r");
        await shell.shows(/50 132\r/);
      });

      it("has job control", async () => {
        shell = await shellOn(backend);
        shell.terminal.type("sh -c 'echo be$((1))gin; exec sleep 1000'\r");
        await shell.shows(/be1gin/);
        shell.terminal.type("\u001a");
        await shell.shows(/Stopped/);
        shell.terminal.type("kill %1; echo code $?\r");
        await shell.shows(/code 0/);
      });
    }
  });
}

describe("the terminal backend of a board", () => {
  let path: string | undefined;
  let bin: string;
  before(async () => {
    bin = await mkdtemp(join(tmpdir(), "hublink-bin-"));
    path = process.env["PATH"];
  });
  afterEach(() => (process.env["PATH"] = path));
  after(async () => rm(bin, { recursive: true }));
  const onlyWith = async (...tools: readonly string[]): Promise<string> => {
    for (const tool of tools) {
      const at = execFileSync("sh", ["-c", `command -v ${tool}`], { encoding: "utf8" }).trim();
      if (!existsSync(join(bin, tool))) await symlink(at, join(bin, tool));
    }
    process.env["PATH"] = bin;
    return (await findTerminalBackend({ world: systemWorld, log: silentLog })).name;
  };

  it("is pipes when no tool is installed", async () => assert.equal(await onlyWith(), "pipes"));
  for (const { backend, skip } of backendsHere().reverse()) {
    if (!backend.isTerminal) continue;
    const tool = backend.name.split(" ")[0] ?? "";
    it(`is ${backend.name} when it is installed`, { skip }, async () => {
      assert.equal(await onlyWith(tool, "stty"), backend.name);
    });
  }

  it("refuses a user that does not exist", () => {
    assert.throws(
      () => accountOf("no-such-user"),
      (error) =>
        error instanceof Failure && /console\.user: there is no user no-such-user/.test(error.message),
    );
    assert.equal(accountOf(""), undefined);
    assert.match(readFileSync("/etc/passwd", "utf8"), /^nobody:/m);
  });
});
