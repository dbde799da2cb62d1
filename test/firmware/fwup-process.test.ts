/** One run of fwup as a child process: its input, its progress, its failures, and that it always ends. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { setImmediate } from "node:timers/promises";
import { runFwup, type FwupRun, type FwupSource } from "../../src/firmware/fwup-process.ts";
import { Failure } from "../../src/platform/failure.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { someBytes } from "../download/announce.ts";
import { say, scriptedFwup } from "./fwups.ts";
import { eventually } from "../eventually.ts";
import { watchForLeftovers } from "../download/left-behind.ts";

const STALL_MS = 600_000;
/** More than a pipe holds. */
const PIECE_BYTES = 300_000;
const OK = say(["PR", 100, ""], ["OK", 0, ""]);
const TAKE_ALL = "cat > /dev/null";

describe("a run of fwup", () => {
  let folder: string;
  let clock: FakeClock;
  let heard: string[];
  let nothingIsLeft: () => Promise<void>;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "fwup-process-"));
    clock = new FakeClock();
    heard = [];
    nothingIsLeft = watchForLeftovers();
  });

  afterEach(async () => {
    assert.equal(clock.pending, 0, "a timer was left behind");
    await nothingIsLeft();
    await rm(folder, { recursive: true });
  });

  /** Runs a script in place of fwup. */
  async function run(lines: string[], source?: FwupSource, changes: Partial<FwupRun> = {}): Promise<void> {
    await runFwup(
      {
        fwup: await scriptedFwup(folder, ...lines),
        args: [],
        clock,
        stallMs: STALL_MS,
        onProgress: (percent) => heard.push(`${percent} %`),
        onWarning: (text) => heard.push(text),
        ...changes,
      },
      source,
    );
  }

  async function failureOf(work: Promise<void>): Promise<Pick<Failure, "code" | "message">> {
    try {
      await work;
    } catch (error) {
      assert.ok(error instanceof Failure, String(error));
      return { code: error.code, message: error.message };
    }
    return assert.fail("it succeeded");
  }

  it("succeeds with fwup's OK and exit status 0, and reports fwup's messages", async () => {
    await run(
      [say(["PR", 0, ""]), "echo from a child of fwup", say(["WN", 0, "Upgrading"]), TAKE_ALL, OK],
      bytes(10),
    );
    assert.deepEqual(heard, ["0 %", "Upgrading", "100 %", "21 bytes beside fwup's own words"]);
  });

  it("gives fwup its input in frames, with a frame that ends it", async () => {
    const file = join(folder, "stdin");
    await run([`cat > ${file}`, OK], bytes(70_000, 3));
    const frames = await readFile(file);
    const sizes: number[] = [];
    const payload: Buffer[] = [];
    for (let at = 0; at < frames.length;) {
      const size = frames.readUInt32BE(at);
      sizes.push(size);
      payload.push(frames.subarray(at + 4, at + 4 + size));
      at += 4 + size;
    }
    assert.deepEqual(sizes, [65_536, 4464, 3, 0]);
    assert.ok(Buffer.concat(payload).equals(Buffer.concat([someBytes(70_000), someBytes(3)])));
  });

  it("fails with fwup's reason, and adds the text of its standard error", async () => {
    const refusal = [
      say(["ER", 0, "Unexpected error\nparsing meta.conf"]),
      "echo version 99 required >&2",
      "exit 1",
    ];
    assert.deepEqual(await failureOf(run(refusal)), {
      code: "fwup_refused",
      message: "Unexpected error; parsing meta.conf (version 99 required)",
    });
  });

  for (const [what, lines, message] of [
    ["ends with 0 but without OK", ["exit 0"], "fwup ended without saying OK"],
    ["says OK but ends with another status", [OK, "exit 3"], "fwup ended with exit status 3"],
    [
      "ends with 1 after a warning only",
      [say(["WN", 0, "busy"]), "exit 1"],
      "fwup ended with exit status 1: busy",
    ],
    ["explains itself on stderr", ["echo a >&2; echo b >&2", "exit 2"], "fwup ended with exit status 2: b"],
    [
      "writes a frame that is too long",
      [String.raw`printf '\001\000\000\000ER'`, "exit 1"],
      "fwup ended with exit status 1",
    ],
  ] as const) {
    it(`fails as crashed when fwup ${what}`, async () => {
      assert.deepEqual(await failureOf(run([...lines])), { code: "fwup_crashed", message });
    });
  }

  it("fails as killed when the kernel kills fwup, as it does when memory runs out", async () => {
    const failure = await failureOf(run(["kill -9 $$"]));
    assert.deepEqual(failure, { code: "fwup_killed", message: "fwup was killed by SIGKILL" });
  });

  it("fails with advice when fwup is not installed", async () => {
    const { code, message } = await failureOf(run([], bytes(10), { fwup: join(folder, "none") }));
    assert.equal(code, "fwup_missing");
    assert.match(message, /none: not found; install it/);
  });

  it("keeps the reason short when fwup writes a lot", async () => {
    const { message } = await failureOf(
      run(["yes '' | head -c 3000000 >&2", "yes x | head -c 9000 | tr -d '\\n' >&2; exit 1"]),
    );
    assert.ok(message.length < 1100);
  });

  it("reads its input to the end when fwup reads only the beginning", async () => {
    let drawn = 0;
    await run(["head -c 100 > /dev/null", OK], async function* () {
      for await (const chunk of bytes(...Array.from({ length: 50 }, () => 64_000))()) {
        drawn += chunk.length;
        yield chunk;
      }
    });
    assert.equal(drawn, 50 * 64_000);
  });

  it("fails when fwup succeeds but the rest of the input is wrong", async () => {
    const ended = gate();
    const failure = failureOf(
      run(["head -c 100 > /dev/null", OK], async function* () {
        yield someBytes(1000);
        await ended.passed;
        throw new Error("checksum");
      }),
    );
    await eventually(() => heard.length > 0, "fwup finishes");
    await eventually(() => !process.getActiveResourcesInfo().includes("ProcessWrap"), "fwup has ended");
    ended.open();
    assert.deepEqual(await failure, {
      code: "fwup_unproven",
      message: "fwup finished, but the rest of its input failed: checksum",
    });
  });

  it("kills fwup before it can finish when the input fails, and throws the input's error", async () => {
    const after = join(folder, "after");
    const fault = new Error("wrong checksum");
    const source: FwupSource = async function* () {
      yield* bytes(1000)();
      throw fault;
    };
    await assert.rejects(run([TAKE_ALL, `touch ${after}`, OK], source), (error) => error === fault);
    assert.ok(!existsSync(after));
  });

  it("aborts the input when fwup fails", async () => {
    let ended = false;
    const source: FwupSource = async function* (signal) {
      yield someBytes(10);
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      ended = true;
      signal.throwIfAborted();
    };
    const { message } = await failureOf(run([say(["ER", 0, "bad signature"]), "exit 1"], source));
    assert.equal(message, "bad signature");
    assert.ok(ended);
  });

  it("is killed with all its children when it is aborted", async () => {
    const pids = join(folder, "pids");
    const abort = new AbortController();
    const reason = new Error("stop");
    const work = run(
      [`sleep 1000 & echo $! > ${pids}; echo $$ >> ${pids}; echo end >> ${pids}; wait`],
      bytes(10),
      {
        signal: abort.signal,
      },
    );
    await eventually(
      () => existsSync(pids) && execFileSync("cat", [pids], { encoding: "utf8" }).includes("end"),
      "started",
    );
    abort.abort(reason);
    await assert.rejects(work, (error) => error === reason);
    for (const pid of (await readFile(pids, "utf8")).split("\n").filter((line) => /^\d+$/.test(line))) {
      await eventually(() => !isAlive(Number(pid)), `process ${pid} is gone`);
    }
    await assert.rejects(run([OK], undefined, { signal: abort.signal }), (error) => error === reason);
  });

  it("ends a process that an archive's execute() left running, since it holds the pipes", async () => {
    const pid = join(folder, "pid");
    await run([`sleep 1000 & echo $! > ${pid}`, OK]);
    const child = Number(await readFile(pid, "utf8"));
    await eventually(() => !isAlive(child), "the child is gone");
  });

  it("ends although a daemon that left the group holds its pipes, and keeps fwup's last words", async () => {
    const pid = join(folder, "pid");
    const work = run([
      `setsid sh -c 'echo $$ > ${pid}; exec sleep 1000' &`,
      `while [ ! -s ${pid} ]; do :; done`,
      OK,
    ]);
    const daemon = async (): Promise<number> => Number(await readFile(pid, "utf8"));
    await eventually(() => heard.length > 0, "fwup finishes");
    await eventually(async () => {
      await clock.advance(2000);
      return await Promise.race<boolean>([work.then(() => true), setImmediate(false)]);
    }, "the end of the run");
    assert.ok(isAlive(await daemon()));
    process.kill(await daemon(), "SIGKILL");
  });

  it("succeeds although what fwup left running may not be ended", async (t) => {
    const kill = t.mock.method(process, "kill", () => {
      throw Object.assign(new Error("kill EPERM"), { code: "EPERM" }); // another user's
    });
    await run([OK]);
    assert.ok(kill.mock.callCount() > 0);
    assert.deepEqual(heard, ["100 %", "what fwup started can't be ended: kill EPERM"]);
  });

  for (const [what, lines] of [
    ["has ended", ["head -c 100 > /dev/null", OK]],
    ["goes on reading", ["head -c 100 > /dev/null", OK, TAKE_ALL]],
  ] as const) {
    it(`draws 16 MiB of a body without end when fwup said OK and ${what}`, async () => {
      const finish = gate();
      let drawn = 0;
      const failure = failureOf(
        run([...lines], async function* () {
          yield someBytes(1000);
          await finish.passed;
          for (; ; drawn += 1_000_000) yield someBytes(1_000_000);
        }),
      );
      await eventually(() => heard.length > 0, "fwup says OK");
      finish.open();
      assert.deepEqual(await failure, {
        code: "fwup_unproven",
        message: "fwup finished, but its input goes on for more than 16 MiB after the archive's end",
      });
      assert.ok(drawn < 20_000_000);
    });
  }

  it("does not wait longer than for a stall for the rest of a body after fwup's OK", async () => {
    let ended = false;
    const failure = failureOf(
      run(["head -c 100 > /dev/null", OK], async function* (signal) {
        yield someBytes(1000);
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        ended = true;
        signal.throwIfAborted();
      }),
    );
    await eventually(() => heard.length > 0, "fwup says OK");
    await eventually(async () => {
      await clock.advance(STALL_MS);
      return ended;
    }, "the end of the input");
    assert.deepEqual(await failure, {
      code: "fwup_unproven",
      message: "fwup finished, but its input goes on for more than 600 s after the archive's end",
    });
  });

  it("asks 47: is ended when it reads no byte and reports no progress for too long", async () => {
    const failure = failureOf(run([say(["PR", 7, ""]), "sleep 1000"], bytes(1_000_000)));
    await eventually(() => heard.length === 1, "fwup is at work");
    // More than one stall may pass, since the pipe itself still accepts some bytes.
    await eventually(async () => {
      await clock.advance(STALL_MS);
      return !process.getActiveResourcesInfo().includes("ProcessWrap");
    }, "the end of fwup");
    assert.deepEqual(await failure, {
      code: "fwup_stalled",
      message: "fwup took no byte and reported no progress for 600 s and was ended",
    });
  });

  it("does not count as stalled while it waits for input", async () => {
    const more = gate();
    let asked = false;
    const work = run([TAKE_ALL, OK], async function* () {
      yield someBytes(100);
      asked = true;
      await more.passed;
      yield someBytes(100);
    });
    await eventually(() => asked, "fwup waits for input");
    await clock.advance(10 * STALL_MS);
    more.open();
    await work;
  });

  it("asks 18: does not count as stalled while it reports progress, even slowly", async () => {
    const steps = join(folder, "steps");
    execFileSync("mkfifo", [steps]);
    const step = `read step <&3`;
    const work = run(
      [`exec 3< ${steps}`, ...[1, 2, 3].flatMap((percent) => [step, say(["PR", percent, ""])]), step, OK],
      bytes(10),
    );
    const fifo = await open(steps, "w");
    for (const count of [1, 2, 3]) {
      await eventually(() => clock.pending === 1, "fwup is watched");
      await clock.advance(0.9 * STALL_MS);
      await fifo.write("\n");
      await eventually(() => heard.length === count, `progress ${count}`);
    }
    await fifo.write("\n");
    await work;
    await fifo.close();
  });

  it("asks 18: does not count as stalled while it reads, even if each piece takes minutes", async () => {
    const steps = join(folder, "steps");
    execFileSync("mkfifo", [steps]);
    const take = `read step <&3; head -c ${PIECE_BYTES} > /dev/null`;
    let given = 0;
    const work = run(
      [`exec 3< ${steps}`, take, take, take, "read step <&3", TAKE_ALL, OK],
      async function* () {
        for (; given < 5 * PIECE_BYTES; given += 50_000) yield await Promise.resolve(someBytes(50_000));
      },
    );
    const fifo = await open(steps, "w");
    for (const count of [1, 2, 3]) {
      await eventually(() => clock.pending === 1, "fwup is watched");
      await clock.advance(0.9 * STALL_MS);
      await fifo.write("\n");
      await eventually(() => given >= count * PIECE_BYTES, `piece ${count}`);
    }
    await fifo.write("\n");
    await work;
    await fifo.close();
  });

  it("runs alone: a second run is refused until the first has ended", async () => {
    const abort = new AbortController();
    const first = run(["sleep 1000"], undefined, { signal: abort.signal });
    await eventually(() => clock.pending === 1, "the first runs");
    assert.equal((await failureOf(run([OK]))).code, "fwup_busy");
    abort.abort(new Error("stop"));
    await assert.rejects(first, /stop/);
    await run([OK]);
  });
});

/** A source of one chunk for each size. */
function bytes(...sizes: number[]): () => AsyncGenerator<Uint8Array> {
  // eslint-disable-next-line @typescript-eslint/require-await -- the caller needs an async stream
  return async function* () {
    for (const size of sizes) yield someBytes(size);
  };
}

function gate(): { readonly passed: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined;
  const passed = new Promise<void>((resolve) => (open = resolve));
  return { passed, open };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false; // ESRCH
  }
  return !/^State:\s+Z/m.test(execFileSync("cat", [`/proc/${pid}/status`], { encoding: "utf8" }));
}
