/**
 * The U-Boot environment on a disk: safe writes, damaged copies, and agreement with the U-Boot tools and
 * fwup.
 */
import assert from "node:assert/strict";
import { mkdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import { readEnvironment, writeVariables } from "../../src/firmware/uboot-environment.ts";
import {
  COPY_OFFSETS,
  ENVIRONMENT_BYTES,
  makeDisk,
  makeFolder,
  overwrite,
  programMissing,
  run,
} from "./uboot-disk.ts";

const [FIRST, SECOND] = COPY_OFFSETS;
const KINDS = ["single", "redundant"] as const;

const mapOf = <T>(values: Readonly<Record<string, T>>): ReadonlyMap<string, T> =>
  new Map(Object.entries(values));

/** The bytes of one copy. */
const copyAt = (disk: Buffer, offset: number): Buffer => disk.subarray(offset, offset + ENVIRONMENT_BYTES);

for (const kind of KINDS) {
  describe(`a ${kind} U-Boot environment`, () => {
    it("gets, changes and loses variables, and nothing else on the disk changes", async (t) => {
      const disk = await makeDisk(t, kind, { keep: "1", replace: "old", lose: "x" });
      await writeVariables(
        disk.config,
        mapOf({ replace: "new=ly\nwritten", lose: null, absent: null, more: "ü" }),
      );
      assert.deepEqual(
        await readEnvironment(disk.config),
        mapOf({ keep: "1", more: "ü", replace: "new=ly\nwritten" }),
      );
      const bytes = await readFile(disk.image);
      assert.equal(bytes.length, 0x10000);
      const ends = kind === "single" ? [FIRST] : [FIRST, SECOND];
      for (const offset of ends) copyAt(bytes, offset).fill(0xaa);
      assert.ok(bytes.every((byte) => byte === 0xaa));
    });

    it("keeps bytes that are not UTF-8 in a variable while another one is written", async (t) => {
      const disk = await makeDisk(t, kind, { raw: "\xff\xfe\x80", other: "1" });
      await writeVariables(disk.config, mapOf({ other: "2" }));
      assert.ok((await readFile(disk.image)).includes(Buffer.from("raw=\xff\xfe\x80\0", "latin1")));
    });

    it("is found at the end of a disk, where a negative offset counts from", async (t) => {
      const disk = await makeDisk(t, kind, { a: "1" });
      const ends = kind === "single" ? [FIRST] : [FIRST, SECOND];
      const lines = ends.map((offset) => `${disk.image} -0x${(0x10000 - offset).toString(16)} 0x1000\n`);
      await writeFile(disk.config, lines.join(""));
      await writeVariables(disk.config, mapOf({ b: "2" }));
      assert.deepEqual(await readEnvironment(disk.config), mapOf({ a: "1", b: "2" }));
      assert.equal((await readFile(disk.image)).length, 0x10000);
      await writeFile(disk.config, `${disk.image} -0x10001 0x1000\n`);
      await assert.rejects(readEnvironment(disk.config), /shorter than its offset -0x10001 from the end/);
    });

    it("is not written when nothing would change", async (t) => {
      const disk = await makeDisk(t, kind, { a: "1" });
      const before = await readFile(disk.image);
      await writeVariables(disk.config, mapOf({ a: "1", absent: null }));
      assert.deepEqual(await readFile(disk.image), before);
    });

    it("is not written when a change can't be stored or doesn't fit", async (t) => {
      const disk = await makeDisk(t, kind, { a: "1" });
      const before = await readFile(disk.image);
      for (const bad of [
        { "a=b": "1" },
        { "": "1" },
        { "n\0": "1" },
        { v: "\0" },
        { big: "x".repeat(5000) },
      ]) {
        const write = writeVariables(disk.config, mapOf({ fine: "1", ...bad }));
        await assert.rejects(write, { name: "Failure", kind: "config" });
        assert.deepEqual(await readFile(disk.image), before);
      }
      await writeVariables(disk.config, mapOf({ a: "2" }));
      // A refusal doesn't stop the next write.
      assert.equal((await readEnvironment(disk.config)).get("a"), "2");
    });

    it("gets all of several changes made at the same time", async (t) => {
      const disk = await makeDisk(t, kind);
      const names = Array.from({ length: 40 }, (_, index) => `v${index}`);
      await Promise.all(names.map(async (name) => writeVariables(disk.config, mapOf({ [name]: name }))));
      assert.deepEqual([...(await readEnvironment(disk.config)).keys()].sort(), names.sort());
    });

    it("is never written when it is damaged or blank, and the failure has device and offset", async (t) => {
      const disk = await makeDisk(t, kind, { a: "1" });
      for (const [fill, message] of [
        [0x5a, /disk\.img at 0x2000.* is damaged/],
        [0xff, /disk\.img at 0x2000.* is blank/],
      ] as const) {
        for (const offset of COPY_OFFSETS)
          await overwrite(disk, offset, Buffer.alloc(ENVIRONMENT_BYTES, fill));
        const before = await readFile(disk.image);
        await assert.rejects(readEnvironment(disk.config), { name: "Failure", kind: "io", message });
        await assert.rejects(writeVariables(disk.config, mapOf({ a: "2" })), {
          name: "Failure",
          message,
        });
        assert.deepEqual(await readFile(disk.image), before);
      }
    });
  });
}

describe("a redundant U-Boot environment", () => {
  it("is written to the older copy each time, also past flag 255", async (t) => {
    const disk = await makeDisk(t, "redundant", { round: "0" });
    for (let round = 1; round <= 300; round += 1) {
      const before = await readFile(disk.image);
      await writeVariables(disk.config, mapOf({ round: String(round) }));
      const after = await readFile(disk.image);
      const [written, current] = round % 2 === 1 ? [SECOND, FIRST] : [FIRST, SECOND];
      assert.deepEqual(copyAt(after, current), copyAt(before, current));
      assert.equal(copyAt(after, written)[4], (1 + round) % 256);
      assert.equal((await readEnvironment(disk.config)).get("round"), String(round));
    }
  });

  it("is unchanged after a power cut during a write", async (t) => {
    const disk = await makeDisk(t, "redundant", { a: "old", filler: "x".repeat(3000) });
    const before = copyAt(await readFile(disk.image), SECOND);
    const changes = mapOf({ a: "new", filler: "y".repeat(3000) });
    await writeVariables(disk.config, changes);
    const after = copyAt(await readFile(disk.image), SECOND);
    for (const writtenBytes of [1, 4, 5, 512, 2048]) {
      const torn = Buffer.concat([after.subarray(0, writtenBytes), before.subarray(writtenBytes)]);
      await overwrite(disk, SECOND, torn);
      assert.equal((await readEnvironment(disk.config)).get("a"), "old", `${writtenBytes} bytes written`);
    }
  });

  it("is repaired by the next write when one copy was damaged", async (t) => {
    const disk = await makeDisk(t, "redundant", { a: "1" });
    await overwrite(disk, FIRST, Buffer.alloc(ENVIRONMENT_BYTES, 0x5a));
    await writeVariables(disk.config, mapOf({ a: "2" }));
    await overwrite(disk, SECOND, Buffer.alloc(ENVIRONMENT_BYTES, 0x5a));
    assert.equal((await readEnvironment(disk.config)).get("a"), "2");
  });
});

describe("a U-Boot environment that can't be reached", () => {
  it("fails with the reason when its configuration is missing or a folder", async (t) => {
    const folder = await makeFolder(t);
    await assert.rejects(readEnvironment(join(folder, "fw_env.config")), {
      name: "Failure",
      kind: "no-input",
      message:
        /configuration .*fw_env\.config does not exist; correct firmware\.uboot_env_config, or set firmware\.metadata/,
    });
    await assert.rejects(readEnvironment(folder), {
      kind: "no-input",
      message: /is a directory, not a file; correct/,
    });
  });

  it("fails with the reason when its device is missing, a folder, a terminal, a pipe or too short", async (t) => {
    const folder = await makeFolder(t);
    const config = join(folder, "fw_env.config");
    const [missing, directory, pipe, short] = ["missing", "folder", "pipe", "short"].map((name) =>
      join(folder, name),
    );
    await mkdir(String(directory));
    run("mkfifo", [String(pipe)]);
    await writeFile(String(short), Buffer.alloc(0x1fff));
    const cases: readonly (readonly [device: string | undefined, kind: string, message: RegExp])[] = [
      [missing, "no-input", /device .*missing does not exist/],
      [directory, "config", /device .*folder is a directory, not a block device or file; correct/],
      [pipe, "config", /device .*pipe is a pipe or socket, not/],
      ["/dev/null", "config", /device \/dev\/null is a character device \(raw flash .*mtdblock\)/],
      [short, "io", /device .*short ends before the 4096 bytes at 0x1000; correct fw_env\.config/],
    ];
    for (const [device, kind, message] of cases) {
      await writeFile(config, `${device} 0x1000 0x1000\n`);
      await assert.rejects(readEnvironment(config), { name: "Failure", kind, message });
      await assert.rejects(writeVariables(config, mapOf({ a: "1" })), { name: "Failure", kind, message });
    }
  });

  it("does not grow a disk that is too short", async (t) => {
    const disk = await makeDisk(t, "redundant", { a: "1" });
    await truncate(disk.image, SECOND + 10);
    await assert.rejects(writeVariables(disk.config, mapOf({ a: "2" })), { message: /ends before/ });
    assert.equal((await readFile(disk.image)).length, SECOND + 10);
  });
});

describe("the U-Boot tools and hublink", { skip: programMissing("fw_printenv") }, () => {
  const name = fc
    .string({ minLength: 1, maxLength: 12, unit: "grapheme" })
    .filter((text) => !/^[-#.\s]|[=\0\s]/u.test(text));
  const value = fc
    .oneof(
      fc.string({ minLength: 1, maxLength: 40, unit: "grapheme" }),
      fc.constantFrom("a=b", "two\nlines", 'say "x"', "back\\slash", "$(echo)", "tab\t"),
    )
    .filter((text) => !text.includes("\0"));
  const step = fc.record({ byTool: fc.boolean(), name, value: fc.option(value, { freq: 3 }) });

  for (const kind of KINDS) {
    it(`read each other's changes, which they write in turns (${kind})`, async (t) => {
      const disk = await makeDisk(t, kind, { start: "1" });
      const expected = new Map([["start", "1"]]);
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
          for (const { byTool, name: changed, value: next } of steps) {
            if (byTool)
              run("fw_setenv", ["-c", disk.config, "--", changed, ...(next === null ? [] : [next])]);
            else await writeVariables(disk.config, mapOf({ [changed]: next }));
            if (next === null) expected.delete(changed);
            else expected.set(changed, next);
          }
          assert.deepEqual(
            new Map([...(await readEnvironment(disk.config))].sort()),
            new Map([...expected].sort()),
          );
          const printed = run("fw_printenv", ["-c", disk.config]).split("\n").slice(0, -1);
          const lines = [...expected].flatMap((pair) => pair.join("=").split("\n"));
          assert.deepEqual(printed.sort(), lines.sort());
          // The environment starts over when it is full, since the test would end early otherwise.
          if (expected.size > 20) {
            await writeVariables(disk.config, new Map([...expected.keys()].map((old) => [old, null])));
            expected.clear();
          }
        }),
        { numRuns: 60 },
      );
    });
  }

  it("agree that a size without 0x is hexadecimal", async (t) => {
    const disk = await makeDisk(t, "single", { a: "1" });
    await writeFile(disk.config, `${disk.image} 8192 1000\n`);
    assert.equal(run("fw_printenv", ["-c", disk.config]), "a=1\n");
    assert.deepEqual(await readEnvironment(disk.config), mapOf({ a: "1" }));
  });
});

describe("fwup and hublink", { skip: programMissing("fwup") }, () => {
  for (const kind of KINDS) {
    it(`read each other's changes (${kind})`, async (t) => {
      const disk = await makeDisk(t, kind);
      const [conf, archive] = [join(disk.folder, "fwup.conf"), join(disk.folder, "test.fw")];
      const redundant = kind === "redundant" ? `block-offset-redund = ${SECOND / 512}` : "";
      await writeFile(
        conf,
        `uboot-environment env { block-offset = ${FIRST / 512} block-count = ${ENVIRONMENT_BYTES / 512} ${redundant} }
        task count.1 { require-uboot-variable(env, "count", "0") on-init { uboot_setenv(env, "count", "1") } }
        task count.3 { require-uboot-variable(env, "count", "2") on-init { uboot_setenv(env, "count", "3") } }`,
      );
      run("fwup", ["-c", "-f", conf, "-o", archive]);
      for (const count of [0, 2]) {
        await writeVariables(disk.config, mapOf({ count: String(count) }));
        run("fwup", ["-a", "-q", "-U", "-d", disk.image, "-i", archive, "-t", "count"]);
        assert.deepEqual(await readEnvironment(disk.config), mapOf({ count: String(count + 1) }));
      }
    });
  }
});
