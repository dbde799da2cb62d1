/**
 * The agent's calls of fwup: install an archive, run a task, ask a question. Runs with the real fwup when
 * there is one, else with the stand-in.
 */
import assert from "node:assert/strict";
import { createReadStream, existsSync, readFileSync } from "node:fs";
import { mkdtemp, open, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import * as v from "valibot";
import {
  applyFirmware,
  checkDevpath,
  fwupVersion,
  listTasks,
  runOpsTask,
  usablePublicKeys,
} from "../../src/firmware/fwup.ts";
import { Verifier, TAIL_BYTES, VerificationFailure } from "../../src/download/verify.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { Failure } from "../../src/platform/failure.ts";
import { fixture, fixturesMissing } from "../fixtures.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { announce, verify } from "../download/announce.ts";
import { fwup, say, scriptedFwup } from "./fwups.ts";
import { watchForLeftovers } from "../download/left-behind.ts";

const DISK_BYTES = 16 * 1024 * 1024;

const Golden = v.object({
  environment: v.record(v.string(), v.string()),
  tasks: v.record(v.string(), v.array(v.string())),
  cases: v.array(
    v.object({
      case: v.string(),
      start: v.array(v.tuple([v.string(), v.string()])),
      archive: v.string(),
      task: v.string(),
      keys: v.array(v.string()),
      result: v.object({ exit: v.number(), frames: v.array(v.tuple([v.string(), v.string()])) }),
      after: v.object({ partition1_block: v.number() }),
    }),
  ),
});

describe("installing firmware", () => {
  let folder: string;
  let disk: string;
  let heard: string[];
  let nothingIsLeft: () => Promise<void>;

  beforeEach(async () => {
    nothingIsLeft = watchForLeftovers();
    folder = await mkdtemp(join(tmpdir(), "fwup-"));
    disk = join(folder, "disk.img");
    await writeFile(disk, "");
    await truncate(disk, DISK_BYTES);
    heard = [];
  });

  afterEach(async () => {
    await nothingIsLeft();
    await rm(folder, { recursive: true });
  });

  const taskOptions = (task: string) => ({
    fwup,
    devpath: disk,
    task,
    clock: systemClock,
    onWarning: (text: string) => void heard.push(text),
  });
  const options = (task: string, publicKeys: readonly string[]) => ({
    ...taskOptions(task),
    args: [],
    env: { NERVES_SERIAL_NUMBER: "SN001" },
    publicKeys,
    stallMs: 60_000,
  });

  const key = (name: string): string => readFileSync(fixture(`fwup/${name}.pub`), "utf8");

  async function install(archive: string, task: string, keys: readonly string[]): Promise<void> {
    await applyFirmware(options(task, keys.map(key)), () => createReadStream(fixture(`fwup/${archive}`)));
  }

  /** The start of partition 1 (the second entry of the MBR), which is the slot that boots. */
  async function activeBlock(): Promise<number> {
    const file = await open(disk);
    try {
      const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0x1be + 16 + 8);
      return buffer.readUInt32LE();
    } finally {
      await file.close();
    }
  }

  describe("has the results that were recorded of fwup 1.16.0", { skip: fixturesMissing }, () => {
    const golden =
      fixturesMissing === false
        ? v.parse(Golden, JSON.parse(readFileSync(fixture("fwup/golden.json"), "utf8")))
        : { cases: [], tasks: {} as Record<string, string[]> };

    for (const { case: name, start, archive, task, keys, result, after } of golden.cases) {
      // Cases without a key are skipped: the agent refuses them before it starts fwup, as a test below shows.
      if (keys.length === 0) continue;
      it(name, async () => {
        for (const [file, step] of start) {
          if (file === "ops.fw") await ops(step);
          else await install(file, step, ["good"]);
        }
        heard = [];
        const work = archive === "ops.fw" ? ops(task) : install(archive, task, keys);
        const refusal = result.frames.find(([type]) => type === "ER")?.[1];
        if (result.exit === 0) await work;
        else await assert.rejects(work, { code: "fwup_refused", message: refusal });
        assert.deepEqual(
          heard,
          result.frames.filter(([type]) => type === "WN").map(([, text]) => text),
        );
        assert.equal(await activeBlock(), after.partition1_block);
      });
    }

    it("lists the tasks of an archive", async () => {
      const file = fixture("fwup/v1.fw");
      assert.deepEqual(await listTasks({ fwup, clock: systemClock, file }), golden.tasks["v1.fw"]);
    });
  });

  async function ops(task: string): Promise<void> {
    const opsFile = fixture("fwup/ops.fw");
    await runOpsTask({ ...taskOptions(task), opsFile });
  }

  it(
    "does not activate the other slot when the file's checksum is wrong",
    { skip: fixturesMissing },
    async () => {
      await install("v1.fw", "complete", ["good"]);
      const active = await activeBlock();
      const archive = await readFile(fixture("fwup/v2.fw"));
      for (const expected of [
        { sizeBytes: null, checksum: "00".repeat(32), parts: null },
        { ...announce(archive), checksum: "00".repeat(32) },
        { ...announce(archive), sizeBytes: archive.length + 1, parts: null },
      ]) {
        const verifier = new Verifier(expected);
        const work = applyFirmware(options("upgrade", [key("good")]), () =>
          verify(inPieces(archive), verifier),
        );
        await assert.rejects(work, VerificationFailure);
        assert.ok(verifier.passedBytes > 0 && verifier.passedBytes <= archive.length - TAIL_BYTES);
        assert.equal(await activeBlock(), active);
      }
      // With the right checksum it does; so only the checksum prevented it.
      const verifier = new Verifier(announce(archive));
      await applyFirmware(options("upgrade", [key("good")]), () => verify(inPieces(archive), verifier));
      assert.notEqual(await activeBlock(), active);
    },
  );

  it("is refused without a usable key, before fwup is started", async () => {
    const started = join(folder, "started");
    const scripted = await scriptedFwup(folder, `touch ${started}`);
    for (const keys of [[], [""], ["not a key"], ["QUJD"]]) {
      const work = applyFirmware({ ...options("upgrade", keys), fwup: scripted }, never);
      await assert.rejects(work, /^Failure: no usable public key/);
    }
    assert.ok(!existsSync(started));
  });

  it("calls fwup with framing first, then the usable keys, and the extra arguments last", async () => {
    const recorded = join(folder, "arguments");
    const scripted = await scriptedFwup(
      folder,
      `echo "$@ $NERVES_SERIAL_NUMBER" > ${recorded}`,
      say(["OK", 0, ""]),
      "cat > /dev/null",
    );
    const [a, b] = [Buffer.alloc(32, 1).toString("base64"), Buffer.alloc(32, 2).toString("base64")];
    const keys = [`${a}\n`, "bad", b, a];
    await applyFirmware({ ...options("upgrade", keys), fwup: scripted, args: ["--unsafe"] }, none);
    assert.equal(
      await readFile(recorded, "utf8"),
      `--framing --apply --no-unmount -d ${disk} --task upgrade --public-key ${a} --public-key ${b} --unsafe SN001\n`,
    );
  });

  it("accepts the keys that fwup accepts: base64 of 32 bytes, with or without padding", () => {
    const padded = Buffer.alloc(32, 7).toString("base64");
    const bare = padded.replace("=", "");
    assert.deepEqual(usablePublicKeys([` ${padded}\n`, bare, padded, `${padded}=`, "", "é"]), [padded, bare]);
  });

  it("is refused when the device is missing or can't be written", async () => {
    const missing = join(folder, "none");
    await assert.rejects(
      applyFirmware({ ...options("upgrade", [KEY]), devpath: missing }, never),
      isFailure("no-input"),
    );
    assert.ok(!existsSync(missing));
    await assert.rejects(checkDevpath(folder), isFailure("config"));
    await assert.rejects(checkDevpath("/dev/null"), isFailure("config"));
    await checkDevpath(disk);
  });

  it("fails with the path when the ops file is missing", async () => {
    const opsFile = join(folder, "none.fw");
    await assert.rejects(
      runOpsTask({ ...options("validate", []), opsFile }),
      new Failure("no_input", `ops file ${opsFile} does not exist`),
    );
  });

  it("reads fwup's version", async () => {
    assert.match(await fwupVersion({ fwup, clock: systemClock }), /^\d+\.\d+\.\d+$/);
  });

  it("fails with fwup's reason when a question fails, and after a time without an answer", async () => {
    const file = disk;
    await assert.rejects(
      listTasks({ fwup, clock: systemClock, file }),
      /^Failure: fwup: Unrecognized archive format$/,
    );
    const clock = new FakeClock();
    const asked = fwupVersion({ fwup: await scriptedFwup(folder, "sleep 1000"), clock });
    const refused = assert.rejects(asked, /did not answer in time/);
    await clock.advance(60_000);
    await refused;
  });
});

const KEY = Buffer.alloc(32, 1).toString("base64");

async function* inPieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 60_000)
    yield await Promise.resolve(bytes.subarray(at, at + 60_000));
}

function none(): AsyncIterable<Uint8Array> {
  return inPieces(Buffer.alloc(0));
}

function never(): AsyncIterable<Uint8Array> {
  return assert.fail("the file was fetched");
}

function isFailure(kind: Failure["kind"]): (error: unknown) => boolean {
  return (error) => error instanceof Failure && error.kind === kind;
}
