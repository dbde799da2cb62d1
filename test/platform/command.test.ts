/** How the agent runs programs: output, limits, and the end of everything that they started. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { createReadStream } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { systemClock } from "../../src/platform/clock.ts";
import { runCommand } from "../../src/platform/command.ts";
import { Failure } from "../../src/platform/failure.ts";
import { eventually, inTime } from "../eventually.ts";
import { FakeClock } from "./fake-clock.ts";

const LONG = { clock: systemClock, timeoutMs: 30_000 };

describe("running a program", () => {
  it("gives its exit code and its output", async () => {
    assert.deepEqual(await runCommand(["sh", "-c", "echo out; echo err >&2; exit 3"], LONG), {
      exitCode: 3,
      stdout: "out\n",
      stdoutBytes: Buffer.from("out\n"),
      stderr: "err\n",
      timedOut: false,
    });
  });

  it("runs a text in the shell, and a list without a shell", async () => {
    assert.equal((await runCommand("echo one; echo two", LONG)).stdout, "one\ntwo\n");
    assert.equal((await runCommand(["echo", "$HOME; a  b"], LONG)).stdout, "$HOME; a  b\n");
  });

  it("gives it text to read, or nothing", async () => {
    assert.equal((await runCommand(["cat"], { ...LONG, stdin: "text\n" })).stdout, "text\n");
    assert.equal((await runCommand(["cat"], LONG)).stdout, "");
    const unread = await runCommand(["true"], { ...LONG, stdin: "x".repeat(2 ** 22) });
    assert.equal(unread.exitCode, 0, "a program may leave its input unread");
  });

  it("adds to the environment", async () => {
    const { stdout } = await runCommand('echo "$GREETING $HOME"', { ...LONG, env: { GREETING: "hello" } });
    assert.equal(stdout, `hello ${process.env["HOME"] ?? ""}\n`);
  });

  it("keeps the first 64 KiB of each output, and reads and drops the rest", async () => {
    const big = await runCommand("head -c 1000000 /dev/zero; head -c 70000 /dev/zero >&2", LONG);
    assert.equal(big.exitCode, 0);
    assert.equal(big.stdout.length, 65_536);
    assert.equal(big.stderr.length, 65_536);
    const small = await runCommand("printf 0123456789", { ...LONG, maxOutputBytes: 4 });
    assert.equal(small.stdout, "0123");
  });

  it("that is missing or can't be run fails with its name", async () => {
    const failure = (pattern: RegExp) => (error: unknown) =>
      error instanceof Failure && error.kind === "unavailable" && pattern.test(error.message);
    // A folder of PATH that may not be searched, as of root's for others, would be the reason instead.
    const missing = runCommand(["no-such-tool"], { ...LONG, env: { PATH: "/usr/bin:/bin" } });
    await assert.rejects(missing, failure(/^no-such-tool: not found; install it/));
    await assert.rejects(runCommand(["/etc/passwd"], LONG), failure(/^\/etc\/passwd: .*EACCES/));
    await assert.rejects(runCommand(["echo", "x".repeat(2 ** 22)], LONG), failure(/^echo: .*E2BIG/));
    await assert.rejects(runCommand(["echo", "a\0b"], LONG), failure(/^echo: .*null bytes/));
    await assert.rejects(
      runCommand([], LONG),
      (error) => error instanceof Failure && error.kind === "config",
    );
  });

  it("leaves no timer and no listener, however it ends", async () => {
    const clock = new FakeClock();
    const { signal } = new AbortController();
    await runCommand(["true"], { clock, timeoutMs: 1000, signal });
    await assert.rejects(runCommand(["no-such-tool"], { clock, timeoutMs: 1000, signal }));
    assert.equal(clock.pending, 0);
  });

  it("ends soon after it, although a daemon that it started holds its output open", async () => {
    const clock = new FakeClock();
    const running = runCommand("sleep 1000 & echo $!; exit 3", { clock, timeoutMs: 30_000 });
    await eventually(() => clock.pending === 2, "its end");
    await clock.advance(2000);
    const { exitCode, stdout, timedOut } = await inTime(running, "the result");
    process.kill(Number(stdout)); // the daemon lives on
    assert.deepEqual([exitCode, timedOut, clock.pending], [3, false, 0]);
  });

  describe("that takes too long", () => {
    let dir: string;
    /** A FIFO: its reader notices each write, and the end of the last writer. */
    let pipe: string;
    before(async () => {
      dir = await mkdtemp(join(tmpdir(), "hublink-command-"));
      pipe = join(dir, "pipe");
      execFileSync("/usr/bin/mkfifo", [pipe]);
    });
    after(async () => rm(dir, { recursive: true }));

    it("is killed with all its children", async () => {
      const clock = new FakeClock();
      const running = runCommand(`sh -c 'echo started; exec sleep 1000' > ${pipe} & wait`, {
        clock,
        timeoutMs: 1000,
      });
      const child = createReadStream(pipe, "utf8");
      await inTime(once(child, "data"), "the child's output");
      const died = once(child, "end");
      await clock.advance(1000);
      const { exitCode, timedOut } = await running;
      assert.deepEqual([exitCode, timedOut], [null, true]);
      await inTime(died, "the end of the child");
      assert.equal(clock.pending, 0);
    });

    it("ends without a wait for a daemon that it left behind with its output open", async () => {
      const clock = new FakeClock();
      const running = runCommand(`echo done; setsid sh -c 'echo $$ > ${pipe}; exec sleep 1000' & exit 0`, {
        clock,
        timeoutMs: 1000,
      });
      const pid = Number(await readFile(pipe, "utf8"));
      await clock.advance(1000);
      assert.equal((await running).timedOut, true);
      process.kill(pid);
    });
  });

  it("fails, and nothing else does, when no file descriptor is free", () => {
    const script = `
      import { openSync, closeSync } from "node:fs";
      import { runCommand } from ${JSON.stringify(import.meta.resolve("../../src/platform/command.ts"))};
      import { systemClock } from ${JSON.stringify(import.meta.resolve("../../src/platform/clock.ts"))};
      const files = [];
      try { for (;;) files.push(openSync("/dev/null")); } catch {}
      const error = await runCommand(["true"], { clock: systemClock, timeoutMs: 1000 }).catch((error) => error);
      for (const file of files) closeSync(file);
      console.log(error.name, error.message);`;
    const said = execFileSync(
      "sh",
      ["-c", 'ulimit -n 64; exec "$0" --import tsx --input-type=module -e "$1"', process.execPath, script],
      { encoding: "utf8" },
    );
    assert.match(said, /^Failure true: .*EMFILE/);
  });

  it("is ended by the signal, aborted before the start or during the run", async () => {
    const controller = new AbortController();
    const running = runCommand(["sleep", "1000"], { ...LONG, signal: controller.signal });
    controller.abort();
    const later = runCommand(["sleep", "1000"], { ...LONG, signal: controller.signal });
    for (const { exitCode, timedOut } of [await running, await later]) {
      assert.deepEqual([exitCode, timedOut], [null, false]);
    }
  });
});
