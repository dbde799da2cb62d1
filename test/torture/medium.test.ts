/** The simulated power cut itself: what it loses and keeps is what a real disk would. */
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { layoutWithSlots } from "../fwup/layout.ts";
import { parseChangeLog, type Change } from "./change-log.ts";
import { readLifeState, writeLifeFaults, type LifeFaults } from "./life-faults.ts";
import { endProcessesIn, LIFE_FOLDER } from "./left-processes.ts";
import {
  afterCut,
  DISK,
  readMedium,
  switchIsUnflushed,
  withUnlogged,
  writeMedium,
  type Cut,
  type Medium,
} from "./medium.ts";
import { createRandom } from "./random.ts";
import { compilePreload, hasCompiler, requireTraceable } from "./world.ts";

/** A program that changes files in every way that the agent and fwup use. */
const CHANGES = `
const fs = require("node:fs"), { writeFile, open, rename, unlink, mkdir } = fs.promises;
const at = (name) => process.env.TORTURE_MEDIUM + "/" + name;
(async () => {
  const disk = await open(at("disk.img"), "r+");
  await disk.write(Buffer.alloc(1024, 2), 0, 1024, 512);
  await disk.sync();
  await disk.write(Buffer.alloc(1024, 3), 0, 1024, 1024);
  await disk.close();
  await mkdir(at("state"));
  for (const text of ["first", "second"]) {
    const file = await open(at("state/journal.new"), "w");
    await file.writeFile(text);
    await file.sync();
    await file.close();
    await rename(at("state/journal.new"), at("state/journal"));
    if (text === "first") {
      const folder = await open(at("state"));
      await folder.sync();
      await folder.close();
    }
  }
  await fs.promises.appendFile(at("old"), "more");
  await unlink(at("gone"));
  const long = await open(at("state/long"), "w");
  await long.truncate(5000);
  await long.writev([Buffer.from("ab"), Buffer.from("cd")], 4000);
  await long.close();
})();`;

const BEFORE: Medium = new Map([
  [DISK, Buffer.alloc(4096, 1)],
  ["old", Buffer.from("old")],
  ["gone", Buffer.from("gone")],
]);

describe("the medium after a power cut", { skip: hasCompiler() ? false : "needs cc on Linux" }, () => {
  let dir = "";
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "hublink-medium-"));
    compilePreload(join(dir, "preload.so"));
  });
  after(() => rmSync(dir, { recursive: true }));

  let runs = 0;
  /** Runs the program with the faults of a life. */
  const run = (faults: LifeFaults = {}) => {
    const home = join(dir, `run-${++runs}`);
    const folder = join(home, "medium");
    mkdirSync(home);
    const inodes = writeMedium(BEFORE, folder);
    writeLifeFaults(join(home, "state"), faults);
    writeFileSync(join(home, "changes"), "");
    const env = {
      ...process.env,
      LD_PRELOAD: join(dir, "preload.so"),
      UV_USE_IO_URING: "0",
      TORTURE_MEDIUM: folder,
      TORTURE_LOG: join(home, "changes"),
      TORTURE_STATE: join(home, "state"),
    };
    let failed = "";
    try {
      execFileSync(process.execPath, ["-e", CHANGES], {
        env,
        stdio: ["ignore", "ignore", "pipe"],
        encoding: "utf8",
      });
    } catch (error) {
      failed = (error as { stderr: string }).stderr;
    }
    const changes = parseChangeLog(readFileSync(join(home, "changes")));
    const left = (kept: Cut["kept"], seed = 1): Medium =>
      afterCut(BEFORE, inodes, changes, { kept, direct: false, random: createRandom(seed) });
    return { failed, left, changes, folder, state: readLifeState(join(home, "state")) };
  };
  const text = (medium: Medium, name: string): string | undefined => medium.get(name)?.toString();

  it("holds the same files as the folder when nothing is lost", () => {
    const { left, folder, failed } = run();
    assert.equal(failed, "");
    assert.deepEqual(left("all"), readMedium(folder));
    assert.equal(text(left("all"), "state/journal"), "second");
  });

  it("keeps what was flushed and loses the rest", () => {
    const medium = run().left("nothing");
    assert.deepEqual(medium.get(DISK)?.subarray(512, 1536), Buffer.alloc(1024, 2));
    assert.deepEqual(medium.get(DISK)?.subarray(1536, 2048), Buffer.alloc(512, 1));
    assert.equal(text(medium, "state/journal"), "first");
    assert.equal(text(medium, "old"), "old");
    assert.equal(text(medium, "gone"), "gone");
    assert.equal(medium.has("state/long"), false);
  });

  it("has old and new sectors in any order, while names change in order", () => {
    const { left } = run();
    const seen = new Set<string>();
    for (let seed = 1; seed <= 40; seed++) {
      const medium = left("any", seed);
      const disk = medium.get(DISK) ?? Buffer.alloc(0);
      seen.add(`${disk[1024] ?? 0} ${disk[1536] ?? 0}`);
      assert.match(text(medium, "state/journal") ?? "", /^(first|second)$/);
      if (!medium.has("gone")) assert.equal(text(medium, "state/journal"), "second");
    }
    assert.deepEqual([...seen].sort(), ["2 1", "2 3", "3 1", "3 3"]);
  });

  it("has no change from after the cut", () => {
    const whole = run();
    const cut = run({ cutAt: 5 });
    assert.equal(cut.state.isCut, true);
    assert.equal(cut.changes.length, 5);
    assert.deepEqual(
      cut.changes.map(({ kind }) => kind),
      whole.changes.slice(0, 5).map(({ kind }) => kind),
    );
  });

  it("sees every change, or ends the program that makes it in another way", () => {
    const program = join(dir, "other-ways");
    execFileSync("cc", ["-O0", "-o", program, join(import.meta.dirname, "other-ways.c")]);
    const ways = ["openat", "renameat", "copy_file_range", "sendfile", "fallocate", "truncate", "mmap"];
    for (const way of ways) {
      const home = mkdtempSync(join(dir, "way-"));
      const folder = join(home, "medium");
      writeMedium(BEFORE, folder);
      writeLifeFaults(join(home, "state"), {});
      const { stderr, signal } = spawnSync(program, [way, folder], {
        env: {
          LD_PRELOAD: join(dir, "preload.so"),
          TORTURE_MEDIUM: folder,
          TORTURE_LOG: join(home, "changes"),
          TORTURE_STATE: join(home, "state"),
        },
        encoding: "utf8",
      });
      assert.equal(signal, "SIGABRT", way);
      assert.match(stderr, new RegExp(`torture: ${way} on the medium is not logged`));
    }
  });

  it("refuses a program that is linked statically", () => {
    const source = join(import.meta.dirname, "other-ways.c");
    const program = join(dir, "static");
    execFileSync("cc", ["-static", "-o", program, source]);
    assert.throws(() => requireTraceable(program, join(dir, "preload.so"), dir), /linked statically/);
    execFileSync("cc", ["-o", program, source]);
    requireTraceable(program, join(dir, "preload.so"), dir);
  });

  it("gets the write that a killed process made and could not log, where the process died", () => {
    const { changes } = run();
    const [logged, found] = [Buffer.alloc(4096, 1), Buffer.alloc(4096, 1).fill(7, 100, 200)];
    const add = (all: readonly Change[], endsInChange: boolean) =>
      withUnlogged(all, { logged, found, inode: 5, endsInChange });
    assert.equal(add(changes, false), undefined, "nobody died: the log is wrong");
    const write = {
      kind: "write",
      inode: 5,
      offset: 100,
      data: Buffer.alloc(100, 7),
      byChild: true,
      process: 0,
    };
    assert.deepEqual(add(changes, true)?.at(-1), write);
    const died = changes.toSpliced(2, 0, { kind: "died", inode: 0 });
    assert.deepEqual(add(died, false)?.[2], write);
  });

  it("ends with all processes of its lives, and with no others", async () => {
    const start = (folder: string) => {
      const child = spawn("sleep", ["600"], { env: { ...process.env, [LIFE_FOLDER]: folder } });
      return { child, over: once(child, "exit"), started: once(child, "spawn") };
    };
    const [one, other] = [start(join(dir, "round-1/life-1")), start(`${dir}-2/life-1`)];
    await Promise.all([one.started, other.started]);
    assert.equal(endProcessesIn(dir), 1);
    await one.over;
    assert.equal(other.child.signalCode, null);
    assert.equal(endProcessesIn(`${dir}-2/life-1`), 1);
    await other.over;
  });

  it("can be full, read-only or broken", () => {
    assert.match(run({ roomBytes: 3 }).failed, /ENOSPC/);
    assert.match(run({ readOnly: true }).failed, /EROFS/);
    assert.match(run({ diskError: { at: 2, forEver: false } }).failed, /EIO/);
  });
});

describe("fwup's switch to a slot", () => {
  const INODE = 7;
  const write = (block: number, byChild = true): Change => ({
    ...{ kind: "write", inode: INODE, offset: block * 512, data: Buffer.alloc(512) },
    ...{ byChild, process: 1 },
  });
  const sync: Change = { kind: "sync", inode: INODE, ofFolder: false };
  const layout = layoutWithSlots(64);
  const [slot, environment] = [write(layout.slotBOffset), write(layout.environmentOffset)];

  it("may come before the slot on a disk without order, until somebody flushes", () => {
    assert.equal(switchIsUnflushed([sync, slot, environment], INODE, layout), true);
    assert.equal(switchIsUnflushed([slot, environment, sync], INODE, layout), false);
  });

  it("has not come while fwup writes the slot, or when the agent wrote to the environment", () => {
    assert.equal(switchIsUnflushed([environment, sync, slot], INODE, layout), false);
    assert.equal(switchIsUnflushed([slot, write(layout.environmentOffset, false)], INODE, layout), false);
  });

  it("may be in the environment's second copy", () => {
    const twice = { ...layout, secondEnvironmentOffset: 512 };
    assert.equal(switchIsUnflushed([slot, write(512)], INODE, twice), true);
    assert.equal(switchIsUnflushed([slot, write(512)], INODE, layout), false);
  });
});
