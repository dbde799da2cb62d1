/**
 * What the agent does on a board that has lost its hub for long: a command, then a reboot, with a limit per
 * day.
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, it } from "node:test";
import { Connectivity } from "../../src/care/connectivity.ts";
import type { runCommand } from "../../src/platform/command.ts";
import { recordingLog } from "../board/recording-log.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";
import { IDENTIFIER, setUpBoard } from "../agent/board.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** A board whose policy waits an hour, on a clock that stands still. */
function board(
  config: { afterMs?: number; command?: string; perDay?: number } = {},
  rebootsMs: readonly number[] = [],
  random = 0,
) {
  const clock = new FakeClock();
  const seen = {
    runs: 0,
    reconnects: 0,
    reboots: [] as string[],
    kept: rebootsMs,
    lines: [] as string[],
    writable: true,
    onKeep: (): void => undefined,
    onTrial: false,
  };
  /** A command that hangs runs until `end` is called; others end at once. */
  const command = { hangs: false, end: (): void => undefined };
  const run: typeof runCommand = async (_line, { signal }) => {
    seen.runs += 1;
    if (command.hangs)
      await new Promise<void>((resolve) => {
        command.end = resolve;
        signal?.addEventListener("abort", () => resolve());
      });
    return { exitCode: 0, stdout: "", stdoutBytes: Buffer.alloc(0), stderr: "", timedOut: false };
  };
  const connectivity = new Connectivity({
    config: { afterMs: 3_600_000, command: "", perDay: 4, ...config },
    journal: {
      connectivityRebootsMs: rebootsMs,
      async update({ connectivityRebootsMs = [] }) {
        seen.onKeep();
        if (seen.writable) seen.kept = connectivityRebootsMs;
        return Promise.resolve(seen.writable);
      },
    },
    validation: {
      get pending() {
        return seen.onTrial;
      },
    },
    world: testWorld({ clock, run, random: () => random }),
    log: recordingLog(seen.lines),
  });
  connectivity.on("reconnect", () => (seen.reconnects += 1));
  connectivity.on("reboot", (reason) => seen.reboots.push(reason));
  return { clock, seen, command, connectivity };
}

describe("a board without its hub", () => {
  it("is rebooted after the time that was set, and not before", async () => {
    const { clock, seen, connectivity } = board();
    connectivity.note(false);
    await clock.advance(HOUR_MS - 1);
    assert.deepEqual(seen.reboots, []);
    connectivity.note(false); // another attempt that failed: the time goes on
    await clock.advance(1);
    assert.deepEqual(seen.reboots, ["no hub for 3600 s"]);
    assert.deepEqual(seen.kept, [clock.now()]);
    await connectivity.stop();
    assert.equal(clock.pending, 0);
  });

  it("waits up to a tenth longer, so that a fleet does not reboot in the same second", async () => {
    const { clock, seen, connectivity } = board({}, [], 0.5);
    connectivity.note(false);
    await clock.advance(1.05 * HOUR_MS - 1);
    assert.deepEqual(seen.reboots, []);
    await clock.advance(1);
    assert.deepEqual(seen.reboots, ["no hub for 3600 s"]);
    await connectivity.stop();
  });

  it("counts the time from the last connection to the hub", async () => {
    const { clock, seen, connectivity } = board();
    for (let times = 0; times < 5; times += 1) {
      connectivity.note(false);
      await clock.advance(HOUR_MS - 1);
      connectivity.note(true);
      await clock.advance(HOUR_MS);
    }
    assert.deepEqual(seen.reboots, []);
    assert.equal(clock.pending, 0);
  });

  it("runs the command first, connects at once, and is not rebooted when that has helped", async () => {
    const { clock, seen, connectivity } = board({ command: "modem reset" });
    connectivity.note(false);
    await clock.advance(HOUR_MS);
    assert.deepEqual([seen.runs, seen.reconnects, seen.reboots.length], [1, 1, 0]);
    await clock.advance(59_999);
    connectivity.note(true);
    await clock.advance(DAY_MS);
    assert.deepEqual(seen.reboots, []);
  });

  it("is rebooted a minute after a command that has not helped", async () => {
    const { clock, seen, connectivity } = board({ command: "modem reset" });
    connectivity.note(false);
    await clock.advance(HOUR_MS + 60_000);
    assert.deepEqual(seen.reboots, ["no hub for 3600 s"]);
    await connectivity.stop();
  });

  it("waits for a command that still runs when the hub is back, and then does nothing more", async () => {
    const { clock, seen, command, connectivity } = board({ command: "modem reset" });
    command.hangs = true;
    connectivity.note(false);
    await clock.advance(HOUR_MS);
    connectivity.note(true);
    connectivity.note(false);
    await clock.advance(HOUR_MS);
    assert.equal(seen.runs, 1, "one after the other");
    command.end();
    await clock.advance(0);
    assert.deepEqual([seen.reconnects, seen.reboots.length], [0, 0]);
    await clock.advance(HOUR_MS);
    assert.equal(seen.runs, 2);
    await connectivity.stop(); // ends the second
    assert.equal(clock.pending, 0);
  });

  it("stays up when the hub comes back at the moment of the reboot", async () => {
    const { clock, seen, connectivity } = board();
    seen.onKeep = () => connectivity.note(true);
    connectivity.note(false);
    await clock.advance(HOUR_MS);
    assert.deepEqual([seen.kept.length, seen.reboots.length], [1, 0]);
    assert.equal(clock.pending, 0);
  });

  it("is rebooted at most as often in a day as was set, but the command runs each time", async () => {
    const { clock, seen, connectivity } = board({ command: "modem reset", perDay: 2 });
    connectivity.note(false);
    await clock.advance(DAY_MS - HOUR_MS);
    assert.equal(seen.reboots.length, 2);
    assert.equal(seen.runs, 22); // each an hour and a minute after the one before
    assert.ok(seen.lines.some((line) => line.includes("often enough today per_day=2")));
    await clock.advance(4 * HOUR_MS);
    assert.equal(seen.reboots.length, 4, "the first ones are a day ago");
    await connectivity.stop();
  });

  it("counts the reboots of earlier boots, also when the clock was set back, but not those of other days", async () => {
    const { clock } = board();
    const now = clock.now();
    for (const [past, allowed] of [
      [[now - HOUR_MS, now - 2 * HOUR_MS], false],
      [[now - HOUR_MS, now + 5 * HOUR_MS], false],
      [[now - HOUR_MS, now - DAY_MS], true],
      [[now - HOUR_MS, now + 5000 * DAY_MS], true],
    ] as const) {
      const { clock: own, seen, connectivity } = board({ perDay: 2 }, past);
      connectivity.note(false);
      await own.advance(HOUR_MS);
      assert.equal(seen.reboots.length, allowed ? 1 : 0, JSON.stringify(past));
      await connectivity.stop();
    }
  });

  it("is not rebooted when the reboot can't be counted, nor while new firmware is on trial", async () => {
    const { clock, seen, connectivity } = board({ perDay: 1 });
    seen.writable = false;
    connectivity.note(false);
    await clock.advance(HOUR_MS);
    seen.writable = true;
    seen.onTrial = true;
    await clock.advance(HOUR_MS);
    assert.deepEqual(seen.reboots, []);
    seen.onTrial = false;
    await clock.advance(HOUR_MS);
    assert.equal(seen.reboots.length, 1);
    await connectivity.stop();
  });

  it("is never rebooted when after_s is 0", async () => {
    const { clock, seen, connectivity } = board({ afterMs: 0, command: "modem reset" });
    connectivity.note(false);
    await clock.advance(DAY_MS);
    assert.deepEqual([seen.runs, seen.reconnects, seen.reboots, seen.lines], [0, 0, [], []]);
  });
});

describe("an agent without its hub", () => {
  it("runs the command, reboots the board, and the next boot knows why and how often", async () => {
    const board = await setUpBoard();
    try {
      const ran = `${board.dir}/ran`;
      const config = {
        hub: { url: "wss://localhost:9" },
        connectivity: { after_s: 0.02, command: `echo x >> ${ran}`, per_day: 1 },
      };
      await board.start(config);
      await board.untilRebooted(1);
      await board.saw(/connectivity\.command is run/);
      await board.reboot(config);
      await board.saw(/rebooted by the agent .*no hub for 0\.02 s/);
      await board.saw(/often enough today/);
      assert.equal(await readFile(`${board.dir}/reboots`, "utf8"), "x\n");
      await board.reboot({ connectivity: config.connectivity });
      await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    } finally {
      await board.remove();
    }
  });
});
