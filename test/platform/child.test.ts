/** Process groups: no process that a child started may survive it. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { afterEach, describe, it } from "node:test";
import { signalGroup, spawnGroup } from "../../src/platform/child.ts";
import { inTime } from "../eventually.ts";

describe("the process group of a child", () => {
  let child: ChildProcess;
  afterEach(() => signalGroup(child));
  const start = (script: string): void => {
    child = spawnGroup("/bin/sh", ["-c", script], { stdio: ["ignore", "pipe", "inherit"] });
  };
  const firstOutput = async (): Promise<void> => {
    assert(child.stdout);
    await inTime(once(child.stdout, "data"), "the child's output");
  };
  /** Resolves when every process that holds the child's output has ended. */
  const everyProcessEnded = async (): Promise<void> => {
    assert(child.stdout);
    await inTime(once(child.stdout.resume(), "end"), "the end of the group");
  };

  it("is ended together with everything that the child started", async () => {
    start("sleep 600 & echo started; wait");
    await firstOutput();
    signalGroup(child);
    await everyProcessEnded();
  });

  it("is ended after its leader has ended", async () => {
    start("sleep 600 & echo started");
    const exited = once(child, "exit");
    await firstOutput();
    assert.deepEqual(await exited, [0, null]);
    signalGroup(child);
    await everyProcessEnded();
  });

  it("receives the signal that was asked for", async () => {
    start("trap 'echo terminated; exit 3' TERM; echo started; while :; do sleep 0.1; done");
    await firstOutput();
    const exited = once(child, "exit");
    signalGroup(child, "SIGTERM");
    assert.deepEqual(await exited, [3, null]);
  });

  it("may be empty", async () => {
    start("exit 0");
    await everyProcessEnded();
    if (child.exitCode === null) await inTime(once(child, "exit"), "the end of the child");
    signalGroup(child);
  });

  it("does not exist when the program can't be started", async () => {
    child = spawnGroup("/no/such/program", [], {});
    const [error] = (await inTime(once(child, "error"), "the child's error")) as [Error];
    assert.match(error.message, /ENOENT/);
    signalGroup(child);
  });
});
