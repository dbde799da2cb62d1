/** The SD card of a board, made by fwup as for a real one. */
import { execFile } from "node:child_process";
import { copyFile, mkdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { BLOCK_BYTES } from "../../test/fwup/block-cache.ts";
import { realFwup, runFwup, STAND_IN } from "../../test/fwup/run.ts";

/** QEMU accepts only SD cards whose size is a power of two. */
const CARD_BYTES = 512 * 1024 * 1024;
const LAYOUT = join(import.meta.dirname, "../../buildroot/board/common/layout.conf");

export interface CardOptions {
  /** Where to write its image. */
  readonly path: string;
  /** The archive that is applied as `complete`. */
  readonly firmware: string;
  /** The files of the data partition: the path there, and the file here. */
  readonly data: Readonly<Record<string, string>>;
}

/**
 * Makes an SD card as it leaves the factory: a firmware in slot A, and a data partition. It uses the fwup on the PATH,
 * or else the stand-in.
 */
export async function makeCard({ path, firmware, data }: CardOptions): Promise<void> {
  await rm(path, { force: true });
  await writeFile(path, "");
  await truncate(path, CARD_BYTES);
  const args = ["--apply", "--no-unmount", "-q", "-d", path, "--task", "complete", "-i", firmware];
  const { exitCode, stdout } = await runFwup(realFwup() ?? STAND_IN, args);
  if (exitCode !== 0) throw new Error(`${firmware} can't be written to a card: ${stdout.toString()}`);

  const folder = `${path}.data`;
  for (const [name, from] of Object.entries(data)) {
    const target = join(folder, name);
    await mkdir(dirname(target), { recursive: true });
    await copyFile(from, target);
  }
  const offset = BLOCK_BYTES * (await dataOffsetBlocks());
  const sizeKib = (CARD_BYTES - offset) / 1024;
  await promisify(execFile)("mkfs.ext4", [
    ...["-q", "-F", "-L", "data", "-E", `offset=${offset},root_owner=0:0`, "-d", folder],
    ...[path, `${sizeKib}k`],
  ]);
  await rm(folder, { recursive: true });
}

async function dataOffsetBlocks(): Promise<number> {
  const [, blocks] = /^define\(DATA_OFFSET, (\d+)\)/m.exec(await readFile(LAYOUT, "utf8")) ?? [];
  if (blocks === undefined) throw new Error(`${LAYOUT} doesn't say where the data partition begins`);
  return Number(blocks);
}
