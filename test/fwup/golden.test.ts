/**
 * Replays a recording of the real fwup against the stand-in, and against a real fwup if there is one: same
 * output, same disk.
 */
import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { copyFile, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import * as v from "valibot";
import { fixture, fixturesMissing } from "../fixtures.ts";
import { readDisk } from "./disk-content.ts";
import { fwups } from "./fwups.ts";
import { fileInput } from "./input.ts";
import { END_FRAME, parseFrames, runFwup, toFrames, type FwupRun } from "./run.ts";
import { ZipStream } from "./zip-stream.ts";

const Disk = v.object({
  environment: v.record(v.string(), v.string()),
  partition1_block: v.number(),
  slot_a: v.string(),
  slot_b: v.string(),
});

const Golden = v.object({
  environment: v.record(v.string(), v.string()),
  disk_bytes: v.number(),
  metadata: v.record(v.string(), v.string()),
  tasks: v.record(v.string(), v.array(v.string())),
  cases: v.array(
    v.object({
      case: v.string(),
      start: v.array(v.tuple([v.string(), v.string()])),
      archive: v.string(),
      task: v.string(),
      keys: v.array(v.string()),
      result: v.object({
        exit: v.number(),
        frames: v.array(v.tuple([v.string(), v.string()])),
        progress_first: v.number(),
        progress_last: v.number(),
        stderr: v.string(),
      }),
      before: v.nullable(Disk),
      after: v.nullable(Disk),
    }),
  ),
});

const NOTHING = { environment: {}, disk_bytes: 0, metadata: {}, tasks: {}, cases: [] };
const golden: v.InferOutput<typeof Golden> =
  fixturesMissing === false
    ? v.parse(Golden, JSON.parse(readFileSync(fixture("fwup/golden.json"), "utf8")))
    : NOTHING;

/** An archive and its task. */
type Step = readonly [string, string];

/** The bytes of a slot that the recording compares. */
const ROOTFS_BYTES = 1024 * 1024;
/** Slots that hold the root file system of one of these are named after it. */
const VERSIONS = ["v1", "v2", "v3"];

for (const { name, path, skip } of fwups)
  describe(`${name} does as was recorded of fwup`, { skip: fixturesMissing || skip }, () => {
    let folder: string;
    /** The versions by the hash of their root file systems. */
    const versions = new Map<string, string>();
    /** Disks by the steps that made them. */
    const starts = new Map<string, Promise<string>>();

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "hublink-golden-"));
      for (const version of VERSIONS) versions.set(sha256(await readRootfs(version)), version);
    });
    after(async () => rm(folder, { recursive: true }));

    const apply = async (disk: string, [archive, task]: Step, keys: readonly string[]): Promise<FwupRun> => {
      const keyArgs: string[] = [];
      for (const key of keys)
        keyArgs.push("--public-key", await readFile(fixture(`fwup/${key}.pub`), "utf8"));
      const frames = toFrames(await readFile(fixture(`fwup/${archive}`)), 64 * 1024);
      return runFwup(path, ["-a", "-F", "-U", "-d", disk, "-t", task, ...keyArgs], {
        env: golden.environment,
        feed: (stdin) => stdin.end(Buffer.concat([frames, END_FRAME])),
      });
    };

    const startDisk = async (steps: readonly Step[]): Promise<string> => {
      const key = JSON.stringify(steps);
      const made = starts.get(key) ?? makeStart(steps);
      starts.set(key, made);
      return made;
    };

    const makeStart = async (steps: readonly Step[]): Promise<string> => {
      const disk = join(folder, `${sha256(Buffer.from(JSON.stringify(steps)))}.img`);
      const last = steps.at(-1);
      if (last === undefined) {
        await writeFile(disk, "");
        await truncate(disk, golden.disk_bytes);
      } else {
        await copyFile(await startDisk(steps.slice(0, -1)), disk);
        assert.equal((await apply(disk, last, ["good"])).exitCode, 0);
      }
      return disk;
    };

    const describeDisk = async (disk: string): Promise<v.InferOutput<typeof Disk>> => {
      const { environment, partition1Block, slotA, slotB } = await readDisk(disk, ROOTFS_BYTES);
      const nameOf = (slot: Buffer): string => versions.get(sha256(slot)) ?? `sha256:${sha256(slot)}`;
      return {
        environment,
        partition1_block: partition1Block ?? 0,
        slot_a: nameOf(slotA),
        slot_b: nameOf(slotB),
      };
    };

    for (const { case: title, start, archive, task, keys, result, ...disks } of golden.cases)
      it(title, async () => {
        const disk = join(folder, `${title.replaceAll(" ", "-")}.img`);
        await copyFile(await startDisk(start), disk);
        if (disks.before !== null) assert.deepEqual(await describeDisk(disk), disks.before);
        const run = await apply(disk, [archive, task], keys);
        const frames = parseFrames(run.stdout);
        const progress = frames.filter(({ type }) => type === "PR").map(({ code }) => code);
        assert.deepEqual(
          {
            exit: run.exitCode,
            frames: frames.filter(({ type }) => type !== "PR").map(({ type, text }) => [type, text]),
            progress_first: progress.at(0),
            progress_last: progress.at(-1),
            stderr: run.stderr,
          },
          result,
        );
        const rising = [...new Set(progress)].sort((a, b) => a - b);
        assert.deepEqual(progress, rising, "progress only rises");
        if (disks.after !== null) assert.deepEqual(await describeDisk(disk), disks.after);
      });

    for (const [archive, text] of Object.entries(golden.metadata))
      it(`metadata of ${archive}`, async () => {
        const run = await runFwup(path, ["-m", "-i", fixture(`fwup/${archive}`)]);
        assert.deepEqual([run.exitCode, run.stdout.toString()], [0, text]);
      });

    for (const [archive, tasks] of Object.entries(golden.tasks))
      it(`tasks of ${archive}`, async () => {
        const run = await runFwup(path, ["-l", "-i", fixture(`fwup/${archive}`)]);
        assert.deepEqual(
          [run.exitCode, run.stdout.toString()],
          [0, tasks.map((task) => `${task}\n`).join("")],
        );
      });
  });

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function readRootfs(version: string): Promise<Buffer> {
  const archive = await ZipStream.open(fileInput(fixture(`fwup/${version}.fw`)));
  for (let entry = await archive.next(); entry !== undefined; entry = await archive.next())
    if (entry.name === "data/rootfs.img") return entry.readAll(ROOTFS_BYTES);
  throw new Error(`${version}.fw has no root file system`);
}
