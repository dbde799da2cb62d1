/** A small disk image with a U-Boot environment for tests, and a way to run the U-Boot tools on it. */
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { encodeEnvironment } from "../../src/firmware/uboot-format.ts";

/** A disk image of 64 KiB with a U-Boot environment in it, and the fw_env.config that names it. */
export interface UbootDisk {
  readonly folder: string;
  readonly image: string;
  readonly config: string;
}

export const ENVIRONMENT_BYTES = 0x1000;
/** The offsets of the first copy and of a redundant environment's second. */
export const COPY_OFFSETS = [0x2000, 0x4000] as const;

/** Makes a disk whose environment holds `variables`; it is removed when the test ends. */
export async function makeDisk(
  t: TestContext,
  kind: "single" | "redundant",
  variables: Readonly<Record<string, string>> = {},
): Promise<UbootDisk> {
  const folder = await makeFolder(t);
  const [image, config] = [join(folder, "disk.img"), join(folder, "fw_env.config")];
  const disk = Buffer.alloc(0x10000, 0xaa);
  const offsets = kind === "single" ? COPY_OFFSETS.slice(0, 1) : COPY_OFFSETS;
  for (const offset of offsets) {
    const flag = kind === "single" ? undefined : 1;
    disk.set(encodeEnvironment(new Map(Object.entries(variables)), ENVIRONMENT_BYTES, flag), offset);
  }
  await writeFile(image, disk);
  await writeFile(config, offsets.map((offset) => `${image} ${offset} 0x1000\n`).join(""));
  return { folder, image, config };
}

/** A folder that is removed when the test ends. */
export async function makeFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hublink-uboot-"));
  t.after(async () => rm(folder, { recursive: true }));
  return folder;
}

/** Puts bytes over a part of the disk. */
export async function overwrite(disk: UbootDisk, offset: number, bytes: Uint8Array): Promise<void> {
  const content = await readFile(disk.image);
  content.set(bytes, offset);
  await writeFile(disk.image, content);
}

/** For node:test's `skip`: false when the program can be run, else the reason. */
export function programMissing(program: string): string | false {
  return spawnSync(program, ["--version"]).error === undefined ? false : `${program} is not installed`;
}

/** Runs a program to its end and returns its output. */
export function run(program: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} ${args.join(" ")}: exit ${status}: ${stdout}${stderr}`);
  return stdout;
}
