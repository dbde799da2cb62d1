/** The command by which the application says whether the watchdogs may be fed. */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { ApplicationCheck } from "../../src/care/watchdogs.ts";
import { runCommand } from "../../src/platform/command.ts";
import { recordingLog } from "../board/recording-log.ts";
import { eventually } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";

const MINUTE = 60_000;

describe("the application's check for the watchdogs", () => {
  let dir: string;
  let clock: FakeClock;
  let lines: string[];
  let check: ApplicationCheck;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-check-"));
    clock = new FakeClock();
    lines = [];
  });
  afterEach(async () => {
    await check.stop();
    assert.equal(clock.pending, 0);
    await rm(dir, { recursive: true });
  });
  let runs = 0;
  /** Real processes, whose end comes when it comes. */
  const setUp = (command: string): void => {
    runs = 0;
    const run: typeof runCommand = async (...question) => {
      try {
        return await runCommand(...question);
      } finally {
        runs += 1;
      }
    };
    check = new ApplicationCheck(command, testWorld({ clock, run }), recordingLog(lines));
    check.start();
  };
  const minute = async (): Promise<void> => {
    const before = runs;
    await clock.advance(MINUTE);
    await eventually(() => runs > before, "the command has ended");
    await clock.advance(0);
  };

  it("counts and logs failures in a row, and starts over at the first success", async () => {
    const well = join(dir, "well");
    setUp(`test -e ${well} || { echo pump stands still >&2; exit 4; }`);
    assert.equal(check.failures, 0, "nothing is asked in the first minute: the application starts up");
    await minute();
    await minute();
    assert.equal(check.failures, 2);
    assert.deepEqual(lines, [
      "warn watchdog.command ended with 4: pump stands still times=1",
      "warn watchdog.command ended with 4: pump stands still times=2",
    ]);
    writeFileSync(well, "");
    await minute();
    assert.equal(check.failures, 0);
    rmSync(well);
    await minute();
    assert.equal(check.failures, 1);
  });

  it("fails, and is killed, when it does not end in 30 s", async () => {
    setUp("sleep 1000");
    await clock.advance(MINUTE);
    await clock.advance(29_999);
    assert.equal(check.failures, 0);
    await clock.advance(1);
    await eventually(() => check.failures === 1, "it has failed");
    assert.match(lines.join("\n"), /watchdog\.command took longer than 30 s/);
  });

  it("ends with the agent, also while it runs", async () => {
    setUp("sleep 1000");
    await clock.advance(MINUTE);
    await check.stop();
    assert.equal(check.failures, 0);
    assert.deepEqual(lines, []);
  });

  it("does not run without a command", async () => {
    setUp("");
    assert.equal(clock.pending, 0);
    await check.stop();
  });
});
