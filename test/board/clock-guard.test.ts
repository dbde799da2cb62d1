/** Time on a board that starts in 1970. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { ClockGuard } from "../../src/board/clock-guard.ts";
import { Failure } from "../../src/platform/failure.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";
import { recordingLog } from "./recording-log.ts";

const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 86_400_000;
const BUILT_MS = Date.UTC(2026, 5, 1);

/** A board that starts in 1970, and what happens to its clock. */
class Board {
  clock = new FakeClock(0);
  enabled = true;
  root = "/";
  readonly lines: string[] = [];
  readonly commands: string[] = [];
  sets = 0;
  /** The exit code of `date -s`; `undefined`: the program is missing. */
  dateEnds: number | undefined = 0;
  readonly stateDir: string;
  readonly #guards: ClockGuard[] = [];

  constructor(stateDir: string) {
    this.stateDir = stateDir;
  }

  async start(): Promise<ClockGuard> {
    const { clock } = this;
    const guard = await ClockGuard.open({
      stateDir: this.stateDir,
      enabled: this.enabled,
      buildDateMs: BUILT_MS,
      world: testWorld({
        clock,
        root: this.root,
        run: async (command) => {
          const words = typeof command === "string" ? [command] : command;
          this.commands.push(words.join(" "));
          if (this.dateEnds === undefined) throw new Failure("unavailable", "date: not found");
          if (this.dateEnds === 0) clock.jump(Number(words[2]?.slice(1)) * 1000 - clock.now());
          const stderr = this.dateEnds === 0 ? "" : "date: cannot set date: Operation not permitted\n";
          return Promise.resolve({
            exitCode: this.dateEnds,
            stdout: "",
            stdoutBytes: Buffer.alloc(0),
            stderr,
            timedOut: false,
          });
        },
      }),
      log: recordingLog(this.lines),
    });
    this.#guards.push(guard);
    guard.start(() => (this.sets += 1));
    return guard;
  }

  /** The agent stops, and the board starts in 1970 again. */
  async restart(): Promise<ClockGuard> {
    await this.stop();
    this.clock = new FakeClock(0);
    return this.start();
  }

  async stop(): Promise<void> {
    for (const guard of this.#guards.splice(0)) await guard.stop();
    assert.equal(this.clock.pending, 0);
  }

  kept = async (): Promise<string> => readFile(join(this.stateDir, "last-known-time"), "utf8");
}

describe("a board without a clock", () => {
  let board: Board;
  beforeEach(async () => {
    board = new Board(await mkdtemp(join(tmpdir(), "hublink-clock-")));
  });
  afterEach(async () => {
    await board.stop();
    await rm(board.stateDir, { recursive: true });
  });

  it("starts at the build date, to which the system's clock is set", async () => {
    const guard = await board.start();
    assert.deepEqual(board.commands, [`date -s @${BUILT_MS / 1000}`]);
    assert.equal(board.clock.now(), BUILT_MS);
    assert.equal(guard.clock.now(), BUILT_MS);
    assert.match(board.lines.join(), /^warn the board's clock was behind .* from=1970-01-01T00:00:00\.000Z/);
  });

  for (const [where, ends, line] of [
    ["where it may not set the clock", 1, /set: date: cannot set date: Operation not permitted; the agent/],
    ["where there is no date", undefined, /set: date: not found; the agent counts on/],
  ] as const) {
    it(`counts on by itself ${where}`, async () => {
      board.dateEnds = ends;
      const guard = await board.start();
      await board.clock.advance(HOUR_MS);
      assert.equal(board.clock.now(), HOUR_MS);
      assert.equal(guard.clock.now(), BUILT_MS + HOUR_MS);
      assert.match(board.lines[0] ?? "", line);
    });
  }

  it("knows the time once a verified hub has said it, or somebody has set the clock", async () => {
    const told = await board.start();
    assert.equal(told.isSet, false);
    told.noteHubTime(BUILT_MS + YEAR_MS);
    assert.equal(told.isSet, true);
    const byHand = await board.restart();
    assert.equal(byHand.isSet, false);
    board.clock.jump(2 * YEAR_MS);
    assert.equal(byHand.isSet, true);
  });

  it("knows the time by the hub also where it may not set the clock", async () => {
    board.dateEnds = 1;
    const guard = await board.start();
    guard.noteHubTime(BUILT_MS + YEAR_MS);
    assert.deepEqual([guard.isSet, guard.clock.now()], [true, BUILT_MS + YEAR_MS]);
  });

  it("without the guard takes a clock for set that is not before the build", async () => {
    board.enabled = false;
    const guard = await board.start();
    assert.equal(guard.isSet, false);
    board.clock.jump(BUILT_MS);
    assert.equal(guard.isSet, true);
    board.clock.jump(30 * YEAR_MS);
    assert.equal(guard.isSet, false);
  });

  it("starts at the last time of the hub plus the time that passed since", async () => {
    const guard = await board.start();
    guard.noteHubTime(BUILT_MS + YEAR_MS);
    await board.clock.advance(5 * HOUR_MS);
    assert.equal((await board.restart()).clock.now(), BUILT_MS + YEAR_MS + 5 * HOUR_MS);
  });

  it("stores the hub's time at once, since the power may fail, and then every hour", async () => {
    const guard = await board.start();
    guard.noteHubTime(BUILT_MS + YEAR_MS);
    await guard.stop();
    assert.equal(await board.kept(), "2027-06-01T00:00:00.000Z\n");
    guard.start(() => undefined);
    await board.clock.advance(HOUR_MS + 5000);
    await guard.stop();
    assert.match(await board.kept(), /^2027-06-01T01:00/);
  });

  it("accepts the hub's time also backward, but not to before the build", async () => {
    const guard = await board.start();
    guard.noteHubTime(BUILT_MS + 10 * YEAR_MS);
    assert.equal(guard.clock.now(), BUILT_MS + 10 * YEAR_MS);
    guard.noteHubTime(BUILT_MS + YEAR_MS);
    assert.equal(guard.clock.now(), BUILT_MS + YEAR_MS);
  });

  for (const [what, hubMs, endsMs, line] of [
    [
      "is before the build",
      BUILT_MS - 1000,
      undefined,
      /ignored: 2026-05-31T23:59:59.000Z is before hublink/,
    ],
    ["can't be read", NaN, undefined, /ignored: it is not a date/],
    [
      "is 21 years after the build",
      BUILT_MS + 21 * YEAR_MS,
      undefined,
      /ignored: 2047\S+ is too far in the f/,
    ],
    ["is of the year 9998", Date.UTC(9998, 0), undefined, /ignored: 9998\S+ is too far in the future/],
    [
      "is after the end of its certificate",
      BUILT_MS + 2000,
      BUILT_MS + 1000,
      /after the end of its certificate/,
    ],
  ] as const) {
    it(`ignores a time of the hub that ${what}, with one line in the log`, async () => {
      const guard = await board.start();
      assert.equal(guard.noteHubTime(BUILT_MS + 3 * HOUR_MS), true);
      const lines = board.lines.length;
      assert.equal(guard.noteHubTime(hubMs, endsMs), false);
      assert.equal(board.lines.length, lines + 1);
      assert.match(board.lines.at(-1) ?? "", line);
      assert.equal(guard.clock.now(), BUILT_MS + 3 * HOUR_MS);
      await guard.stop();
      assert.equal(await board.kept(), "2026-06-01T03:00:00.000Z\n");
    });
  }

  it("never stores the system clock's time alone, since it may be far in the future", async () => {
    const guard = await board.start();
    guard.noteHubTime(BUILT_MS + HOUR_MS);
    board.clock.jump(10 * YEAR_MS);
    assert.ok(guard.clock.now() > BUILT_MS + 9 * YEAR_MS, "though it is believed while it lasts");
    assert.equal((await board.restart()).clock.now(), BUILT_MS + HOUR_MS);
  });

  it("forgets a wrong time of the hub that could be right, with the next connection", async () => {
    let guard = await board.start();
    const lateMs = BUILT_MS + 19 * YEAR_MS;
    guard.noteHubTime(lateMs, BUILT_MS + 20 * YEAR_MS);
    guard = await board.restart();
    assert.equal(board.clock.now(), lateMs, "it is believed, since nothing says that it is wrong");
    guard.noteHubTime(BUILT_MS + HOUR_MS, BUILT_MS + YEAR_MS);
    await guard.stop();
    assert.deepEqual(
      [board.clock.now(), guard.clock.now(), await board.kept()],
      [BUILT_MS + HOUR_MS, BUILT_MS + HOUR_MS, "2026-06-01T01:00:00.000Z\n"],
    );
    assert.equal((await board.restart()).clock.now(), BUILT_MS + HOUR_MS);
  });

  it("follows a hub whose servers disagree a few times, and then once an hour", async () => {
    const guard = await board.start();
    const endsMs = BUILT_MS + 20 * YEAR_MS;
    const joinServer = async (index: number): Promise<boolean> => {
      const believed = guard.noteHubTime(BUILT_MS + (index % 2 === 0 ? HOUR_MS : 19 * YEAR_MS), endsMs);
      await guard.stop();
      return believed;
    };
    const followed: boolean[] = [];
    for (let index = 0; index < 12; index++) followed.push(await joinServer(index));
    assert.deepEqual(followed.slice(0, 5), [true, true, true, true, true]);
    assert.deepEqual(followed.slice(5, 8), [false, true, false], "those that agree with the last one");
    assert.equal(board.commands.length, 6, "set at the start, by the first join, and four times more");
    assert.equal(board.clock.now(), BUILT_MS + HOUR_MS);
    assert.match(
      board.lines.at(-1) ?? "",
      /^warn the hub's time is ignored: 2045\S+ contradicts 2026\S+ of an earlier connection, .* of its servers$/,
    );
    await board.clock.advance(HOUR_MS);
    assert.deepEqual([await joinServer(1), await joinServer(0)], [true, false]);
  });

  for (const content of ["garbage", "", "1969-01-01T00:00:00Z", "99999-01-01"]) {
    it(`ignores a file that holds ${JSON.stringify(content)}`, async () => {
      await writeFile(join(board.stateDir, "last-known-time"), content);
      assert.equal((await board.start()).clock.now(), BUILT_MS);
      assert.match(board.lines[0] ?? "", /^warn the last known time is damaged/);
    });
  }

  for (const content of ["2066-03-01T00:00:00.000Z", "9998-12-31T00:00:00.000Z"]) {
    it(`ignores a file that holds ${content}, which an earlier agent kept, and writes a new one`, async () => {
      await writeFile(join(board.stateDir, "last-known-time"), content);
      const guard = await board.start();
      assert.equal(guard.clock.now(), BUILT_MS);
      assert.match(board.lines[0] ?? "", /^warn the last known time can't be right, and is ignored/);
      guard.noteHubTime(BUILT_MS + HOUR_MS);
      await guard.stop();
      assert.equal(await board.kept(), "2026-06-01T01:00:00.000Z\n");
    });
  }

  it("works on with a state folder that can't be written", async () => {
    await mkdir(join(board.stateDir, "last-known-time.new")); // in the place of the file it writes
    const guard = await board.start();
    guard.noteHubTime(BUILT_MS + YEAR_MS);
    await guard.stop();
    assert.match(board.lines.at(-1) ?? "", /^warn the time can't be kept for the next start: EISDIR/);
    assert.equal(guard.clock.now(), BUILT_MS + YEAR_MS);
  });

  it("reports it while TLS checks certificates by a clock that is behind", async () => {
    board.dateEnds = 1;
    const { doubt } = await board.start();
    assert.equal(
      doubt,
      "the board's clock says 1970-01-01T00:00:00.000Z, but it is at least 2026-06-01T00:00:00.000Z",
    );
  });

  it("reports that its clock is only the last known time, until it is set or the hub gives the time", async () => {
    let guard = await board.start();
    assert.match(guard.doubt ?? "", /says 2026-06-01\S+, which is only the last time it knew$/);
    guard.noteHubTime(BUILT_MS + 1000);
    assert.equal(guard.doubt, undefined);

    guard = await board.restart();
    assert.notEqual(guard.doubt, undefined);
    await board.clock.advance(12_000);
    assert.equal(board.sets, 0);
    board.clock.jump(HOUR_MS); // NTP
    await board.clock.advance(5000);
    assert.equal(guard.doubt, undefined);
    assert.equal(board.sets, 1, "the callback is called once");
    await board.clock.advance(10 * HOUR_MS);
    assert.equal(board.sets, 1);
  });

  it("sets and reports nothing while the clock is right", async () => {
    board.clock.jump(BUILT_MS + YEAR_MS);
    const guard = await board.start();
    assert.deepEqual([board.commands, board.lines, guard.doubt], [[], [], undefined]);
    assert.equal(guard.clock.now(), board.clock.now());
  });

  it("is set back when it is later than any that can be right, wherever that came from", async () => {
    board.clock.jump(BUILT_MS + 40 * YEAR_MS);
    assert.equal((await board.start()).clock.now(), BUILT_MS);
    assert.equal(board.clock.now(), BUILT_MS);
    assert.match(
      board.lines[0] ?? "",
      /^warn the board's clock was too far in the future, and is moved back/,
    );
  });

  it("counts on by itself where a clock that is too far in the future can't be set", async () => {
    board.clock.jump(BUILT_MS + 40 * YEAR_MS);
    board.dateEnds = 1;
    const guard = await board.start();
    assert.equal(guard.clock.now(), BUILT_MS);
    assert.match(guard.doubt ?? "", /says 2066\S+, which can't be right$/);
    assert.equal(await guard.fit({ notBeforeMs: BUILT_MS, notAfterMs: BUILT_MS + YEAR_MS }), false);
  });

  describe("that the agent has set", () => {
    const valid = { notBeforeMs: BUILT_MS + 30 * HOUR_MS, notAfterMs: BUILT_MS + YEAR_MS };
    const keep = async (ms: number): Promise<void> =>
      writeFile(join(board.stateDir, "last-known-time"), new Date(ms).toISOString());
    const poisoned = BUILT_MS + 10 * YEAR_MS;

    for (const [what, keptMs] of [
      ["the hub's certificate has expired", poisoned],
      ["the hub's certificate is not yet valid", BUILT_MS + HOUR_MS],
    ] as const) {
      it(`goes to the start of that certificate when ${what}`, async () => {
        await keep(keptMs);
        const guard = await board.start();
        assert.equal(board.clock.now(), keptMs);
        assert.equal(await guard.fit(valid), true);
        assert.equal(board.clock.now(), valid.notBeforeMs);
        assert.equal(guard.clock.now(), valid.notBeforeMs);
        assert.equal(await guard.fit(valid), false, "it fits now");
      });
    }

    it("goes back no further than to the build date", async () => {
      await keep(poisoned);
      const guard = await board.start();
      assert.equal(await guard.fit({ ...valid, notBeforeMs: 0 }), true);
      assert.equal(board.clock.now(), BUILT_MS);
    });

    it("goes back to what an RTC had, if the certificate is valid then", async () => {
      await keep(poisoned);
      board.clock.jump(BUILT_MS + 40 * HOUR_MS);
      const guard = await board.start();
      await board.clock.advance(HOUR_MS);
      assert.equal(await guard.fit(valid), true);
      assert.equal(board.clock.now(), BUILT_MS + 41 * HOUR_MS);
    });

    for (const [what, dates] of [
      ["was over before the build", { notBeforeMs: 0, notAfterMs: BUILT_MS - 1 }],
      ["begins 21 years after the build", { notBeforeMs: BUILT_MS + 21 * YEAR_MS, notAfterMs: Infinity }],
    ] as const) {
      it(`is not set by a certificate that ${what}`, async () => {
        const guard = await board.start();
        assert.equal(await guard.fit(dates), false);
        assert.equal(board.clock.now(), BUILT_MS);
      });
    }

    it("is not kept for the next start before the hub has confirmed it", async () => {
      await keep(BUILT_MS + HOUR_MS);
      const guard = await board.start();
      await guard.fit(valid);
      await board.clock.advance(5 * HOUR_MS);
      await guard.stop();
      assert.equal(await board.kept(), "2026-06-01T01:00:00.000Z");
      guard.noteHubTime(valid.notBeforeMs + HOUR_MS, valid.notAfterMs);
      await guard.stop();
      assert.equal(await board.kept(), "2026-06-02T07:00:00.000Z\n");
    });

    it("follows the hub's time in both directions, since downloads are judged by it too", async () => {
      await keep(BUILT_MS + 100 * HOUR_MS);
      const guard = await board.start();
      for (const hours of [50, 200]) {
        guard.noteHubTime(BUILT_MS + hours * HOUR_MS, valid.notAfterMs);
        await guard.stop();
        assert.equal(board.clock.now(), BUILT_MS + hours * HOUR_MS);
      }
      guard.noteHubTime(BUILT_MS + 300 * HOUR_MS);
      await guard.stop();
      assert.equal(
        board.clock.now(),
        BUILT_MS + 200 * HOUR_MS,
        "without the end of the certificate it stays",
      );
    });

    it("is left alone once the hub, NTP or a person has given the time", async () => {
      const guard = await board.start();
      board.clock.jump(10 * YEAR_MS);
      assert.equal(await guard.fit(valid), false);
      guard.noteHubTime(BUILT_MS + HOUR_MS, valid.notAfterMs);
      await guard.stop();
      assert.equal(board.clock.now(), poisoned);
      assert.equal(board.commands.length, 1);

      const other = await board.restart();
      other.noteHubTime(BUILT_MS + HOUR_MS, BUILT_MS + YEAR_MS);
      assert.equal(other.isGuess, false);
      assert.equal(await other.fit(valid), false, "the hub has confirmed it");
    });

    it("is known to be a guess by the next agent in the same boot", async () => {
      await keep(poisoned);
      await board.start();
      await board.stop();
      const next = await board.start();
      assert.equal(board.commands.length, 1, "there was nothing to set");
      assert.match(next.doubt ?? "", /only the last time it knew$/);
      await board.stop();

      board.clock.jump(2 * HOUR_MS); // NTP, while no agent runs
      const last = await board.start();
      assert.deepEqual([last.isGuess, await last.fit(valid)], [false, false]);
    });
  });

  it("does not set a clock that is less than a minute behind, but corrects it for the agent", async () => {
    board.clock.jump(BUILT_MS - 59_000);
    const guard = await board.start();
    assert.deepEqual([board.commands, board.lines, guard.doubt], [[], [], undefined]);
    assert.equal(guard.clock.now(), BUILT_MS);
  });

  it("is not set for a board in a folder of another machine", async () => {
    board.root = "/tmp/board";
    const guard = await board.start();
    assert.deepEqual(board.commands, []);
    assert.equal(guard.clock.now(), BUILT_MS);
  });

  it("is left alone with clock.guard = false", async () => {
    board.enabled = false;
    const guard = await board.start();
    guard.noteHubTime(BUILT_MS);
    assert.equal(guard.clock.now(), 0);
    assert.deepEqual([board.commands, guard.doubt], [[], undefined]);
  });
});
