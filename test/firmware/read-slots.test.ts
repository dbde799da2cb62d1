/**
 * Where the running firmware is read from: the U-Boot environment or a file, and the kernel's command line.
 * Images are made by the real fwup.
 */
import assert from "node:assert/strict";
import { mkdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { readSlotSources, runningFirmware } from "../../src/firmware/read-slots.ts";
import { invalidation, reversion, validation } from "../../src/firmware/slot-changes.ts";
import type { RunningFirmware, Slot } from "../../src/firmware/slots.ts";
import { readEnvironment, writeVariables } from "../../src/firmware/uboot-environment.ts";
import { fixture, fixturesMissing } from "../fixtures.ts";
import { UPDATED_TO_B } from "./slot-variables.ts";
import { makeDisk, makeFolder, programMissing, run } from "./uboot-disk.ts";

/** Reads which firmware runs; `installedFrom` ran when firmware was installed in this boot. */
async function readRunningFirmware(
  source: Parameters<typeof readSlotSources>[0],
  root: string,
  installedFrom?: Slot,
): Promise<RunningFirmware> {
  const boot =
    installedFrom === undefined ? undefined : { slot: installedFrom, active: installedFrom, installed: true };
  return runningFirmware(source, await readSlotSources(source, root), boot);
}

describe("loading the running firmware", () => {
  /** Writes the kernel's command line. @returns the root folder that it is in */
  async function rootWith(folder: string, kernelCommandLine: string): Promise<string> {
    await mkdir(join(folder, "proc"), { recursive: true });
    await writeFile(join(folder, "proc/cmdline"), kernelCommandLine);
    return folder;
  }

  it("reads the U-Boot environment and the kernel's command line", async (t) => {
    const disk = await makeDisk(t, "redundant", UPDATED_TO_B);
    const source = { metadata: "uboot-env", ubootEnvConfig: disk.config };
    const firmware = await readRunningFirmware(source, await rootWith(disk.folder, "fw_slot=a\n"));
    assert.equal(firmware.slot, "a");
    assert.equal(firmware.autoRevertDetected, true);
    const pending = await readRunningFirmware(source, await rootWith(disk.folder, ""), "a");
    assert.equal(pending.rebootPending, true);
    const without = await readRunningFirmware(source, join(disk.folder, "no-procfs"));
    assert.equal(without.slot, "b");
  });

  it("reads a file of key=value lines on a board without U-Boot", async (t) => {
    const folder = await makeFolder(t);
    const path = join(folder, "firmware.env");
    await writeFile(path, '# made by the build\n\nnerves_fw_uuid = u=1\r\nnerves_fw_description="A test"\n');
    const source = { metadata: `file:${path}`, ubootEnvConfig: "/nowhere" };
    const firmware = await readRunningFirmware(source, await rootWith(folder, "quiet"));
    assert.equal(firmware.slot, "");
    assert.deepEqual(firmware.metadata, { nerves_fw_uuid: "u=1", nerves_fw_description: "A test" });
  });

  it("reads a file with slots too, and never corrects it", async (t) => {
    const folder = await makeFolder(t);
    const path = join(folder, "firmware.env");
    await writeFile(path, "nerves_fw_active=b\na.nerves_fw_version=1\nb.nerves_fw_version=2\n");
    const source = { metadata: `file:${path}`, ubootEnvConfig: "/nowhere" };
    const firmware = await readRunningFirmware(source, await rootWith(folder, "fw_slot=a"));
    assert.equal(firmware.version, "1");
    assert.equal(firmware.autoRevertDetected, false);
    assert.equal(firmware.correction.size, 0);
  });

  it("fails with the problem and its remedy", async (t) => {
    const folder = await makeFolder(t);
    const path = join(folder, "firmware.env");
    const root = await rootWith(folder, "");
    const load = async (metadata: string): Promise<RunningFirmware> =>
      readRunningFirmware({ metadata, ubootEnvConfig: join(folder, "fw_env.config") }, root);
    await assert.rejects(load("uboot-env"), {
      kind: "no-input",
      message: /fw_env\.config does not exist; correct/,
    });
    await assert.rejects(load(`file:${path}`), {
      name: "Failure",
      kind: "no-input",
      message: /firmware metadata .*firmware\.env does not exist; correct firmware\.metadata/,
    });
    await writeFile(path, "# fine\nnot fine\n");
    await assert.rejects(load(`file:${path}`), {
      kind: "config",
      message: /firmware\.env line 2: expected key=value/,
    });
    const bad = join(folder, "bad");
    await mkdir(join(bad, "proc/cmdline"), { recursive: true });
    await assert.rejects(readRunningFirmware({ metadata: `file:${path}`, ubootEnvConfig: "" }, bad), {
      message: /kernel command line .* is a directory/,
    });
  });
});

describe("images made by fwup", { skip: fixturesMissing || programMissing("fwup") }, () => {
  const UUID_V1 = "37374880-a7dd-51db-f4b8-5b1062b551b7";
  const UUID_V2 = "1bfc2687-426a-5900-9fe5-04d8354282fe";

  interface Board {
    readonly config: string;
    /** @throws with fwup's words when fwup refuses */
    apply(archive: string, task: string): void;
    load(kernelCommandLine: string, installedFrom?: Slot): Promise<RunningFirmware>;
    write(changes: ReadonlyMap<string, string | null>): Promise<void>;
  }

  async function makeBoard(t: TestContext): Promise<Board> {
    const folder = await makeFolder(t);
    const [image, config] = [join(folder, "disk.img"), join(folder, "fw_env.config")];
    await mkdir(join(folder, "proc"));
    await writeFile(image, "");
    await truncate(image, 16 * 1024 * 1024);
    await writeFile(config, `${image} 0x2000 0x2000\n`);
    const key = await readFile(fixture("fwup/good.pub"), "utf8");
    const board: Board = {
      config,
      apply: (archive, task) => {
        const path = fixture(`fwup/${archive}`);
        run("fwup", ["-a", "-q", "-U", "-d", image, "-i", path, "-t", task, "--public-key", key]);
      },
      load: async (kernelCommandLine, installedFrom) => {
        await writeFile(join(folder, "proc/cmdline"), kernelCommandLine);
        const source = { metadata: "uboot-env", ubootEnvConfig: config };
        return await readRunningFirmware(source, folder, installedFrom);
      },
      write: async (changes) => writeVariables(config, changes),
    };
    await assert.rejects(readEnvironment(config), { message: /is blank/ });
    board.apply("v1.fw", "complete");
    return board;
  }

  it("run v1 from a, validated, after the complete task", async (t) => {
    const board = await makeBoard(t);
    const firmware = await board.load("");
    assert.equal(firmware.slot, "a");
    assert.equal(firmware.uuid, UUID_V1);
    assert.equal(firmware.version, "1.0.0");
    assert.equal(firmware.validated, true);
    assert.equal(firmware.devpath, "/dev/mmcblk0");
    assert.deepEqual(firmware.warnings, []);
  });

  it("run v2 from b on trial after an upgrade; our validation lets fwup install the next one", async (t) => {
    const board = await makeBoard(t);
    board.apply("v2.fw", "upgrade");
    assert.equal((await board.load("", "a")).uuid, UUID_V1);
    const firmware = await board.load("");
    assert.equal(firmware.uuid, UUID_V2);
    assert.equal(firmware.validated, false);
    assert.throws(() => board.apply("v3.fw", "upgrade"), /not validated/);
    await board.write(validation(await readEnvironment(board.config), firmware));
    assert.equal((await board.load("")).validated, true);
    board.apply("v3.fw", "upgrade");
    assert.equal((await board.load("")).version, "3.0.0");
  });

  it("are corrected after a fall-back to the state that fwup's revert leaves, except for the failed slot", async (t) => {
    const board = await makeBoard(t);
    board.apply("v2.fw", "upgrade");
    const fallen = await board.load("fw_slot=a");
    assert.equal(fallen.autoRevertDetected, true);
    await board.write(fallen.correction);
    const corrected = await readEnvironment(board.config);
    const firmware = await board.load("fw_slot=a");
    assert.equal(firmware.autoRevertDetected, false);
    assert.equal(firmware.correction.size, 0);
    assert.equal(firmware.other?.uuid, UUID_V2);

    const reverted = await makeBoard(t);
    reverted.apply("v2.fw", "upgrade");
    reverted.apply("ops.fw", "revert");
    const expected = new Map(await readEnvironment(reverted.config));
    expected.delete("b.nerves_fw_platform");
    expected.delete("b.nerves_fw_architecture");
    assert.deepEqual(corrected, expected);
  });

  it("can be reverted neither by fwup nor by us to a slot that we made invalid", async (t) => {
    const board = await makeBoard(t);
    board.apply("v2.fw", "upgrade");
    board.apply("ops.fw", "validate");
    const firmware = await board.load("");
    const variables = await readEnvironment(board.config);
    assert.equal(reversion(variables, firmware).get("nerves_fw_active"), "a");
    await board.write(invalidation(variables, firmware, "a"));
    assert.throws(() => board.apply("ops.fw", "revert"), /No valid firmware to revert to/);
    const left = await readEnvironment(board.config);
    assert.throws(() => reversion(left, firmware), { message: /slot a holds no valid firmware/ });
    assert.equal(left.get("a.nerves_fw_product"), "demo-board");
  });
});
