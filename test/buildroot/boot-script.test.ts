/**
 * U-Boot on the boards of buildroot/: the card's layout, the boot script and the kernel images. Numbers
 * that fwup, U-Boot and the agent each keep must be the same, or a board does not boot.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { crc32 } from "node:zlib";
import { decodeEnvironment } from "../../src/firmware/uboot-format.ts";
import { COMMON, DATA_OFFSET, KERNEL_OFFSETS, missing, ROOT_OFFSETS } from "./card.ts";

const MKIMAGE = "mkimage";
const BOARDS = ["rpi0", "rpi2", "rpi3", "rpi3-64", "rpi4-64"];

async function makeFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hublink-boot-"));
  t.after(async () => rm(folder, { recursive: true }));
  return folder;
}

describe("the layout of a card", () => {
  it("is the same for fwup, the boot script, fw_printenv and these tests", async () => {
    const layout = new Map<string, number>();
    for (const [, name = "", value] of (await readFile(join(COMMON, "layout.conf"), "utf8")).matchAll(
      /^define\((\w+), (\d+)\)/gm,
    )) {
      layout.set(name, Number(value));
    }
    const block = (name: string): number => layout.get(name) ?? assert.fail(`layout.conf has no ${name}`);
    const hex = (value: number): string => `0x${value.toString(16)}`;

    const script = await readFile(join(COMMON, "boot.cmd"), "utf8");
    for (const part of [
      `mmc read 0x08000000 ${hex(block("ENV_OFFSET"))} ${hex(block("ENV_COUNT"))}`,
      `mmc write 0x08000000 ${hex(block("ENV_OFFSET"))} ${hex(block("ENV_COUNT"))}`,
      `mmc read 0x08020000 ${hex(block("ENV_BACKUP_OFFSET"))} ${hex(block("ENV_COUNT"))}`,
      `mmc write 0x08000000 ${hex(block("ENV_BACKUP_OFFSET"))} ${hex(block("ENV_COUNT"))}`,
      `start=${hex(block("KERNEL_A_OFFSET"))}\n  root=2`,
      `start=${hex(block("KERNEL_B_OFFSET"))}\n  root=3`,
    ]) {
      assert.ok(script.includes(part), part);
    }
    const environment = await readFile(join(COMMON, "fw_env.config"), "utf8");
    assert.ok(
      environment.includes(`${hex(block("ENV_OFFSET") * 512)} ${hex(block("ENV_COUNT") * 512)}`),
      environment,
    );
    assert.deepEqual(
      [block("KERNEL_A_OFFSET"), block("KERNEL_B_OFFSET"), block("ROOT_A_OFFSET"), block("ROOT_B_OFFSET")],
      [KERNEL_OFFSETS.a, KERNEL_OFFSETS.b, ROOT_OFFSETS.a, ROOT_OFFSETS.b],
    );
    assert.equal(block("DATA_OFFSET"), DATA_OFFSET);
  });

  it("has no two parts that overlap, and fits on a card of 512 MiB", async () => {
    const text = await readFile(join(COMMON, "layout.conf"), "utf8");
    const value = (name: string): number =>
      Number(new RegExp(`^define\\(${name}, (\\d+)\\)`, "m").exec(text)?.[1]);
    const parts = [
      ["ENV_OFFSET", "ENV_COUNT"],
      ["ENV_BACKUP_OFFSET", "ENV_COUNT"],
      ["BOOT_OFFSET", "BOOT_COUNT"],
      ["KERNEL_A_OFFSET", "KERNEL_COUNT"],
      ["KERNEL_B_OFFSET", "KERNEL_COUNT"],
      ["ROOT_A_OFFSET", "ROOT_COUNT"],
      ["ROOT_B_OFFSET", "ROOT_COUNT"],
      ["DATA_OFFSET", "DATA_COUNT"],
    ].map(([start = "", count = ""]) => ({ start: value(start), end: value(start) + value(count) }));
    for (const [index, part] of parts.entries()) {
      assert.ok(part.end <= (parts[index + 1]?.start ?? 1_048_576), `part ${index} ends at ${part.end}`);
    }
  });
});

describe("the boot script", () => {
  it("becomes an image that U-Boot accepts", { skip: missing(MKIMAGE) }, async (t) => {
    const out = join(await makeFolder(t), "boot.scr.uimg");
    const script = join(COMMON, "boot.cmd");
    execFileSync(MKIMAGE, ["-A", "arm", "-T", "script", "-C", "none", "-n", "boot", "-d", script, out]);
    assert.match(execFileSync(MKIMAGE, ["-l", out], { encoding: "utf8" }), /ARM Linux Script/);
  });

  it("passes the booted slot, and whether it is validated, to the kernel", async () => {
    const script = await readFile(join(COMMON, "boot.cmd"), "utf8");
    assert.match(script, /^ *setenv bootargs .* fw_slot=\$\{slot\} fw_validated=\$\{validated\}$/m);
  });

  it("closes each block that it opens", async () => {
    const words = (await readFile(join(COMMON, "boot.cmd"), "utf8")).replaceAll(/^ *(#|echo).*$/gm, "");
    const count = (word: RegExp): number => words.match(word)?.length ?? 0;
    assert.equal(count(/^ *if /gm), count(/^ *fi$/gm));
    assert.equal(count(/^ *(?:if|elif) .*; then$/gm), count(/^ *(?:if|elif) /gm));
  });
});

describe("a slot's kernel image", { skip: missing("mkenvimage") }, () => {
  it("begins with the values that the boot script needs, and has each part at the place that they name", async (t) => {
    const folder = await makeFolder(t);
    const parts = { dtb: "the device tree", kernel: "k".repeat(1500), initrd: "the RAM disk" };
    for (const [name, content] of Object.entries(parts)) await writeFile(join(folder, name), content);
    await writeFile(
      join(folder, "slot.env"),
      "# a comment\nslot_boot=bootz\nslot_args=console=ttyAMA0 a=b\n",
    );
    const out = join(folder, "kernel.img");
    const paths = ["kernel", "dtb", "initrd"].map((name) => join(folder, name));
    execFileSync(join(COMMON, "kernel-image.sh"), [out, join(folder, "slot.env"), ...paths]);

    const image = await readFile(out);
    const { variables } = decodeEnvironment([{ bytes: image.subarray(0, 4096), name: "head" }], "kernel.img");
    assert.equal(variables.get("slot_boot"), "bootz");
    assert.equal(variables.get("slot_args"), "console=ttyAMA0 a=b");
    for (const [name, content] of Object.entries(parts)) {
      const start = Number(variables.get(`slot_${name}_block`)) * 512;
      assert.equal(Number(variables.get(`slot_${name}_size`)), content.length);
      assert.equal(Number(variables.get(`slot_${name}_count`)), Math.ceil(content.length / 512));
      const crc = Buffer.alloc(4);
      crc.writeUInt32BE(crc32(content));
      assert.equal(variables.get(`slot_${name}_crc`), `0x${crc.toString("hex")}`);
      assert.equal(variables.get(`slot_${name}_crc_swapped`), `0x${crc.reverse().toString("hex")}`);
      assert.equal(image.subarray(start, start + content.length).toString(), content);
    }
    assert.equal(image.length % 512, 0);
  });

  it("names a part that is missing", async (t) => {
    const folder = await makeFolder(t);
    await writeFile(join(folder, "slot.env"), "slot_boot=bootz\n");
    const { status, stderr } = spawnSync(
      join(COMMON, "kernel-image.sh"),
      [join(folder, "out"), join(folder, "slot.env"), join(folder, "zImage")],
      { encoding: "utf8" },
    );
    assert.equal(status, 66);
    assert.match(stderr, /zImage: no such file/);
  });

  for (const board of BOARDS) {
    it(`${board}: its slot.env has all that the boot script needs`, async () => {
      const text = await readFile(join(COMMON, "..", board, "slot.env"), "utf8");
      for (const name of [
        "platform",
        "architecture",
        "kernel",
        "boot",
        "args",
        "root",
        "kernel_at",
        "watchdog",
      ]) {
        assert.match(text, new RegExp(`^slot_${name}=.+`, "m"), name);
      }
      assert.match(text, new RegExp(`^slot_platform=${board}$`, "m"));
    });
  }
});
