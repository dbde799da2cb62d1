/** A reboot from the first report to the last method, on a board on which nothing real happens. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { reboot, rebootMethods, type RebootOptions } from "../../src/board/reboot.ts";
import type { Config } from "../../src/config/schema.ts";
import { runCommand } from "../../src/platform/command.ts";
import { Failure } from "../../src/platform/failure.ts";
import { eventually, inTime } from "../eventually.ts";
import { failure } from "../identity/failure.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";
import { recordingLog } from "./recording-log.ts";

const SYSCALL: Pick<Config["reboot"], "methods" | "command"> = { methods: ["syscall"], command: "" };
const STILL_UP = failure("other", "still up after every way");
const HANGS = "exec sleep 1000";

/**
 * A board on which nothing real happens: commands are lines of the test's own, run as real children, and
 * sysrq is a file in a scratch folder.
 */
class Board {
  readonly clock = new FakeClock();
  readonly lines: string[] = [];
  /** The steps that were taken, each with the seconds since the start. */
  readonly done: string[] = [];
  readonly end = new AbortController();
  /** The methods, in the order in which they were reported. */
  readonly methods: string[] = [];
  gpioProblem: Failure | undefined;
  /** The shell lines that commands run; a command that is missing here is missing on the board. */
  readonly commands: Record<string, string> = { sync: "true", reboot: "true", "reboot -f": "true" };
  readonly #root: string;
  readonly #children = new Set<Promise<unknown>>();

  constructor(root: string) {
    this.#root = root;
  }

  readonly #runCommand: typeof runCommand = async (command, options) => {
    const name = typeof command === "string" ? command : command.join(" ");
    this.note(name);
    const line = this.commands[name];
    const child = runCommand(line ?? ["/nowhere/missing"], options);
    if (line === HANGS) return child;
    this.#children.add(child);
    return child.finally(() => this.#children.delete(child));
  };

  note(what: string): void {
    this.done.push(`${this.clock.monotonic() / 1000} ${what}`);
  }

  /** Reboots, and lets time pass until that has settled; children that end are waited for. */
  async reboot(config = SYSCALL, change: Partial<RebootOptions> = {}): Promise<void> {
    const { clock, lines } = this;
    const world = testWorld({ clock, run: this.#runCommand, root: this.#root });
    const rebooting = reboot({
      reason: "the update is installed",
      methods: rebootMethods(config, {
        world,
        resetByGpio: async () => {
          this.note("gpio-watchdog");
          if (this.gpioProblem !== undefined) throw this.gpioProblem;
          return Promise.resolve();
        },
      }),
      graceMs: 5000,
      escalateMs: 30_000,
      flush: async () => {
        this.note("flush");
        return Promise.resolve();
      },
      endChildren: async () => Promise.resolve(),
      onMethod: (name) => this.methods.push(name),
      world,
      log: recordingLog(lines),
      signal: this.end.signal,
      ...change,
    });
    const progress = { settled: false };
    const settle = (): void => {
      progress.settled = true;
    };
    rebooting.then(settle, settle);
    await eventually(async () => {
      await clock.advance(0);
      if (progress.settled) return true;
      if (this.#children.size === 0) await clock.advance(clock.nextDelay ?? 0);
      else await inTime(Promise.allSettled(this.#children), "the end of the commands");
      return false;
    }, "the end of the reboot");
    return rebooting;
  }

  sysrq(): string {
    return readFileSync(join(this.#root, "proc/sysrq-trigger"), "utf8");
  }
}

describe("a reboot that was asked for", () => {
  let root: string;
  let board: Board;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "hublink-reboot-"));
    await mkdir(join(root, "proc"));
    await writeFile(join(root, "proc/sysrq-trigger"), "");
    board = new Board(root);
  });
  afterEach(async () => rm(root, { recursive: true }));

  it("reports to the hub, syncs the disks, then tries one method after the other until the board is down", async () => {
    await assert.rejects(board.reboot(), STILL_UP);
    assert.deepEqual(board.done, ["0 flush", "0 sync", "0 reboot", "30 reboot -f"]);
    assert.equal(board.sysrq(), "sub");
    assert.equal(board.clock.monotonic(), 90_000);
    assert.equal(board.clock.pending, 0);
  });

  it("logs the reason, and each method before it is tried, since the board may be down at once", async () => {
    await assert.rejects(board.reboot(), STILL_UP);
    assert.deepEqual(board.lines, [
      "warn rebooting the board reason=the update is installed",
      "warn trying to reboot method=reboot",
      "error the board is still up method=reboot after_s=30",
      "warn trying to reboot method=reboot -f",
      "error the board is still up method=reboot -f after_s=30",
      "warn trying to reboot method=sysrq",
      "error the board is still up method=sysrq after_s=30",
    ]);
  });

  it("reports each method before it is tried, for the record that survives the boot", async () => {
    await assert.rejects(board.reboot(), STILL_UP);
    assert.deepEqual(board.methods, ["reboot", "reboot -f", "sysrq"]);
  });

  it("lets the external watchdog reset the board where that comes first, then asks the system", async () => {
    await assert.rejects(board.reboot({ ...SYSCALL, methods: ["gpio-watchdog", "syscall"] }), STILL_UP);
    assert.deepEqual(board.done, ["0 flush", "0 sync", "0 gpio-watchdog", "30 reboot", "60 reboot -f"]);
  });

  it("does not wait for an external watchdog that the board lacks", async () => {
    board.gpioProblem = new Failure("config", "there is no line 99");
    await assert.rejects(board.reboot({ ...SYSCALL, methods: ["gpio-watchdog", "syscall"] }), STILL_UP);
    assert.deepEqual(board.done.slice(2, 4), ["0 gpio-watchdog", "0 reboot"]);
    assert.ok(board.lines.includes("error gpio-watchdog failed: there is no line 99"));
  });

  it("ends the agent's children before it syncs the disks, and does not wait long for them", async () => {
    const endChildren = async (): Promise<void> => {
      board.note("end children");
      return new Promise(() => undefined);
    };
    await assert.rejects(board.reboot(SYSCALL, { endChildren }), STILL_UP);
    assert.deepEqual(board.done.slice(0, 4), ["0 flush", "0 end children", "2.5 sync", "2.5 reboot"]);
  });

  it("runs the configured command instead of reboot", async () => {
    board.commands["my-reboot --now"] = "true";
    await assert.rejects(board.reboot({ ...SYSCALL, command: "my-reboot --now" }), STILL_UP);
    assert.deepEqual(board.done, ["0 flush", "0 sync", "0 my-reboot --now", "30 reboot -f"]);
  });

  it("does not wait after a method that is missing or fails", async () => {
    delete board.commands["reboot"];
    board.commands["reboot -f"] = "echo no init here >&2; exit 3";
    await assert.rejects(board.reboot(), STILL_UP);
    assert.deepEqual(board.done, ["0 flush", "0 sync", "0 reboot", "0 reboot -f"]);
    assert.equal(board.sysrq(), "sub");
    const lines = board.lines.join("\n");
    assert.match(lines, /^error reboot failed: .*not found/m);
    assert.match(lines, /^error reboot -f failed: reboot -f ended with 3: no init here$/m);
  });

  it("is not delayed by a method that hangs", async () => {
    board.commands["reboot"] = HANGS;
    await assert.rejects(board.reboot(), STILL_UP);
    assert.deepEqual(board.done, ["0 flush", "0 sync", "0 reboot", "30 reboot -f"]);
  });

  it("is not delayed by a hub that gets no report", async () => {
    await assert.rejects(
      board.reboot(SYSCALL, { flush: async () => new Promise(() => undefined) }),
      STILL_UP,
    );
    assert.equal(board.done[0], "2 sync");
    const broken = new Board(root);
    const flush = async (): Promise<void> => Promise.reject(new Error("socket closed"));
    await assert.rejects(broken.reboot(SYSCALL, { flush }), STILL_UP);
    assert.equal(broken.done[0], "0 sync");
    assert.match(broken.lines.join("\n"), /^error telling the hub failed: socket closed$/m);
  });

  it("is not delayed by a dead disk: hub and disks share one time limit", async () => {
    board.commands["sync"] = HANGS;
    await assert.rejects(
      board.reboot(SYSCALL, { flush: async () => new Promise(() => undefined) }),
      STILL_UP,
    );
    assert.deepEqual(board.done, ["2 sync", "5 reboot", "35 reboot -f"]);
    const lines = board.lines.filter((line) => line.includes("disks"));
    assert.deepEqual(lines, ["error syncing the disks takes too long timeout_s=3"]);
  });

  it("goes on when the disks can't be synced, and logs that", async () => {
    board.commands["sync"] = "exit 1";
    await assert.rejects(board.reboot(), STILL_UP);
    assert.match(board.lines.join("\n"), /^error syncing the disks failed exit=1$/m);
    assert.equal(board.done[2], "0 reboot");
  });

  it("goes on without a sync program", async () => {
    delete board.commands["sync"];
    await assert.rejects(board.reboot(), STILL_UP);
    assert.deepEqual(board.done.slice(0, 3), ["0 flush", "0 sync", "0 reboot"]);
  });

  it("gives the kernel time to sync, and to remount read-only, before sysrq's last step", async () => {
    const seen: string[] = [];
    for (const seconds of [60.1, 62.1, 64.1])
      board.clock.after(seconds * 1000, () => seen.push(board.sysrq()));
    await assert.rejects(board.reboot(), STILL_UP);
    assert.deepEqual(seen, ["s", "su", "sub"]);
  });

  it("takes all steps of sysrq even when the time for it is short", async () => {
    await assert.rejects(board.reboot(SYSCALL, { escalateMs: 1000 }), STILL_UP);
    assert.equal(board.sysrq(), "sub");
    assert.equal(board.clock.monotonic(), 3000);
  });

  it("logs that the kernel has no sysrq", async () => {
    await rm(join(root, "proc/sysrq-trigger"));
    await assert.rejects(board.reboot(), STILL_UP);
    assert.match(board.lines.join("\n"), /^error sysrq failed: sysrq trigger .* does not exist$/m);
  });

  it("tries no further method once the agent stops", async () => {
    board.clock.after(10_000, () => board.end.abort());
    await board.reboot();
    assert.equal(board.clock.monotonic(), 10_000);
    assert.deepEqual(board.done, ["0 flush", "0 sync", "0 reboot"]);
    assert.equal(board.sysrq(), "");
    assert.equal(board.clock.pending, 0);
  });

  it("tries no method when the agent stops during the report to the hub", async () => {
    board.clock.after(1000, () => board.end.abort());
    await board.reboot(SYSCALL, { flush: async () => new Promise(() => undefined) });
    assert.equal(board.clock.monotonic(), 1000);
    assert.deepEqual(board.done, []);
  });
});
