/** The trial of new firmware: what makes it good, and when it ends. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Validation } from "../../src/care/validation.ts";
import type { Config } from "../../src/config/schema.ts";
import type { CommandResult, runCommand } from "../../src/platform/command.ts";
import { silentLog } from "../../src/platform/log.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";

/**
 * A slot on trial, on a clock that stands still; `exits` are the exit codes of the command's runs, `trialMs` how
 * long it was on trial before the agent was restarted.
 */
async function onTrial(
  config: Partial<Config["validation"]> = {},
  exits: number[] = [],
  { pending = true, trialMs = 0, recordHangs = false } = {},
) {
  const clock = new FakeClock();
  const seen = { validated: 0, deadline: 0, runs: 0, failures: 0 };
  const run: typeof runCommand = async () => {
    seen.runs += 1;
    const result: CommandResult = {
      exitCode: exits.shift() ?? 0,
      stdout: "",
      stderr: "",
      stdoutBytes: Buffer.alloc(0),
      timedOut: false,
    };
    return Promise.resolve(result);
  };
  const slot = { validated: !pending, rebootPending: false };
  const firmware = {
    running: slot,
    rebootOwed: false,
    refresh: async () => Promise.resolve(),
    async validate() {
      if (seen.failures === 0) return Promise.resolve();
      seen.failures -= 1;
      return Promise.reject(new Error("the disk is busy"));
    },
  };
  const record = {
    trialMs: async () => (recordHangs ? new Promise<number>(() => undefined) : Promise.resolve(trialMs)),
    trialEnded: async () => Promise.resolve(),
  };
  const validation = new Validation(
    { mode: "auto", command: "", deadlineMs: 600_000, ...config },
    { firmware, record },
    testWorld({ clock, run }),
    silentLog,
  );
  validation.on("validated", () => (seen.validated += 1));
  validation.on("expired", () => (seen.deadline += 1));
  const started = validation.start();
  if (!recordHangs) await started;
  return { clock, firmware, seen, slot, validation };
}

describe("firmware on trial", () => {
  it("is good once the hub was joined", async () => {
    const { clock, seen, validation } = await onTrial();
    assert.equal(validation.pending, true);
    validation.joined();
    await clock.advance(0);
    assert.deepEqual([validation.pending, seen.validated], [false, 1]);
    assert.equal(clock.pending, 0);
  });

  it("is good once the command has succeeded too, which runs until it does", async () => {
    const { clock, seen, validation } = await onTrial({ command: "check" }, [1, 1, 0]);
    validation.joined();
    await clock.advance(10_000);
    assert.deepEqual([seen.runs, seen.validated], [2, 0]);
    validation.joined(); // a second join starts no second row of runs
    await clock.advance(10_000);
    assert.deepEqual([seen.runs, seen.validated], [3, 1]);
    await clock.advance(1_000_000);
    assert.deepEqual([seen.runs, seen.deadline], [3, 0]);
  });

  it("is not good after the join in manual mode", async () => {
    const { clock, seen, validation } = await onTrial({ mode: "manual" });
    validation.joined();
    await clock.advance(10);
    assert.equal(seen.validated, 0);
    await validation.markValid();
    await validation.markValid();
    assert.deepEqual([validation.pending, seen.validated, clock.pending], [false, 1, 0]);
  });

  it("expires when it has not proven good by the deadline", async () => {
    const { clock, seen } = await onTrial();
    await clock.advance(599_999);
    assert.equal(seen.deadline, 0);
    await clock.advance(1);
    assert.equal(seen.deadline, 1);
  });

  it("expires at the same time when the agent is restarted in between", async () => {
    const { clock, seen } = await onTrial({}, [], { trialMs: 590_000 });
    await clock.advance(9_999);
    assert.equal(seen.deadline, 0);
    await clock.advance(1);
    assert.equal(seen.deadline, 1);
  });

  it("expires also when a disk that hangs does not say how long it was on trial", async () => {
    const { clock, seen } = await onTrial({}, [], { recordHangs: true });
    await clock.advance(10_000);
    await clock.advance(600_000);
    assert.equal(seen.deadline, 1);
  });

  it("expires at once when the agent comes back after the deadline", async () => {
    const { clock, seen } = await onTrial({}, [], { trialMs: 1_000_000 });
    await clock.advance(0);
    assert.equal(seen.deadline, 1);
  });

  it("is marked at the next try when a write to the disk failed", async () => {
    const { clock, seen, validation } = await onTrial();
    seen.failures = 1;
    validation.joined();
    await clock.advance(0);
    assert.equal(validation.pending, true);
    await clock.advance(10_000);
    assert.equal(validation.pending, false);
  });

  it("leaves nothing behind when the agent stops", async () => {
    const { clock, seen, validation } = await onTrial({ command: "check" }, [1, 1, 1]);
    validation.joined();
    await clock.advance(0);
    const stopped = validation.stop();
    await clock.advance(0);
    await stopped;
    assert.deepEqual([clock.pending, seen.validated, seen.deadline], [0, 0, 0]);
  });

  it("is not on trial when its slot is validated already", async () => {
    const { clock, seen, validation } = await onTrial({}, [], { pending: false });
    validation.joined();
    await clock.advance(0);
    await validation.markValid();
    assert.deepEqual([clock.pending, seen.validated], [0, 0]);
  });

  it("is good when somebody else has marked it good: seen at the deadline, no reboot follows", async () => {
    const { clock, seen, slot, validation } = await onTrial({ mode: "manual" });
    slot.validated = true;
    await clock.advance(600_000);
    assert.deepEqual([validation.pending, seen.validated, seen.deadline], [false, 1, 0]);
  });

  it("is given up at the deadline also when the disk hangs, and the slots can't be read", async () => {
    const { clock, seen, firmware } = await onTrial({ mode: "manual" });
    firmware.refresh = async () => new Promise<void>(() => undefined);
    await clock.advance(600_000);
    await clock.advance(10_000);
    assert.equal(seen.deadline, 1);
  });

  it("is good when somebody else has marked it good: seen at a join, without a command of the agent's", async () => {
    const { clock, seen, slot, validation } = await onTrial({ mode: "manual" });
    slot.validated = true;
    validation.joined();
    await clock.advance(0);
    assert.deepEqual([validation.pending, seen.validated, seen.runs], [false, 1, 0]);
    assert.equal(clock.pending, 0);
  });

  it("is not good because other firmware was installed, whose flag is another", async () => {
    const { clock, seen, slot, validation } = await onTrial({ mode: "manual" });
    Object.assign(slot, { validated: true, rebootPending: true });
    await validation.refresh();
    assert.deepEqual([validation.pending, seen.validated], [true, 0]);
    await clock.advance(600_000);
    assert.equal(seen.deadline, 1);
  });
});
