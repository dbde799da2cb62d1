/**
 * A card as the boards of buildroot/ have it, in an image file: made and changed by the real fwup with the boards'
 * own fwup.conf and ops.conf.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, open, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { openBoardFirmware, type BoardFirmware } from "../../src/firmware/board-firmware.ts";
import { openJournal } from "../../src/firmware/journal.ts";
import { readEnvironment, type Variables } from "../../src/firmware/uboot-environment.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { silentLog } from "../../src/platform/log.ts";
import { inTime } from "../eventually.ts";
import { realFwup } from "../fwup/run.ts";

export const COMMON = join(import.meta.dirname, "../../buildroot/board/common");

/** Blocks of 512 bytes, as in layout.conf. */
export const KERNEL_OFFSETS = { a: 133120, b: 231424 } as const;
export const ROOT_OFFSETS = { a: 329728, b: 591872 } as const;
export const DATA_OFFSET = 854016;
const BLOCK_BYTES = 512;

/** For node:test's `skip`: which program is missing; false when all are there. */
export function missing(...programs: string[]): string | false {
  const absent = programs.filter((name) =>
    name === "fwup" ? realFwup() === undefined : spawnSync("sh", ["-c", `command -v ${name}`]).status !== 0,
  );
  return absent.length > 0 && `needs ${absent.join(", ")} on the PATH`;
}

export interface Spoken {
  readonly exitCode: number | null;
  readonly text: string;
}

/** Firmware and operations made from the board's own fwup.conf and ops.conf, and a card to try them on. */
export interface Card {
  /** An fw_env.config that leads to the card. */
  readonly environmentConfig: string;
  /** Makes firmware. Its kernel and root are filled with the version's text, which shows what a slot holds. */
  firmware(version: string, changes?: { platform?: string; rootKib?: number }): Promise<string>;
  run(file: string, task: string): Spoken;
  ops(task: string): Spoken;
  /** Starts to install, and kills fwup after this number of bytes of the firmware. */
  killed(file: string, afterBytes: number): Promise<void>;
  environment(): Promise<Variables>;
  writeBlocks(block: number, content: Buffer): Promise<void>;
  /** The text that the slot's root was filled with. */
  rootText(slot: "a" | "b"): Promise<string>;
  readBlocks(block: number, count: number): Promise<Buffer>;
  /** The board as the agent sees it, after a boot in which the boot script passed these words. */
  boot(kernelCommandLine: string): Promise<BoardFirmware>;
}

export async function makeCard(t: TestContext): Promise<Card> {
  const folder = await mkdtemp(join(tmpdir(), "hublink-card-"));
  t.after(async () => rm(folder, { recursive: true }));
  const fwup = realFwup() ?? "fwup";
  const image = join(folder, "card.img");
  const opsFile = join(folder, "ops.fw");
  const environmentConfig = join(folder, "fw_env.config");
  await writeFile(image, "");
  await truncate(image, 512 * 1024 * 1024); // sparse
  await writeFile(environmentConfig, `${image} 0x2000 0x20000\n`);
  let boots = 0;

  const create = (
    config: string,
    out: string,
    version: string,
    changes: Record<string, string> = {},
  ): void => {
    execFileSync(fwup, ["-c", "-f", join(COMMON, config), "-o", out], {
      env: {
        ...process.env,
        HUBLINK_PRODUCT: "demo",
        HUBLINK_DESCRIPTION: "demo for rpi0",
        HUBLINK_VERSION: version,
        HUBLINK_PLATFORM: "rpi0",
        HUBLINK_ARCHITECTURE: "arm",
        HUBLINK_AUTHOR: "test",
        ...changes,
      },
    });
  };
  create("ops.conf", opsFile, "1.0.0");

  const run = (file: string, task: string): Spoken => {
    const { status, stdout } = spawnSync(fwup, ["-a", "-q", "-d", image, "-i", file, "-t", task], {
      encoding: "utf8",
    });
    return { exitCode: status, text: stdout.trim().replaceAll("fwup: ", "") };
  };
  const readBlocks = async (block: number, count: number): Promise<Buffer> => {
    const handle = await open(image);
    try {
      const bytes = Buffer.alloc(count * BLOCK_BYTES);
      await handle.read(bytes, 0, bytes.length, block * BLOCK_BYTES);
      return bytes;
    } finally {
      await handle.close();
    }
  };

  return {
    environmentConfig,
    async firmware(version, { platform = "rpi0", rootKib = 64 } = {}) {
      const boot = join(folder, "boot.vfat");
      const kernel = join(folder, `${version}.kernel`);
      const root = join(folder, `${version}.root`);
      await writeFile(boot, "boot");
      await writeFile(kernel, `kernel ${version}`);
      await writeFile(root, noise(`root ${version}`, rootKib * 1024));
      const out = join(folder, `${version}-${platform}.fw`);
      create("fwup.conf", out, version, {
        HUBLINK_PLATFORM: platform,
        HUBLINK_BOOT: boot,
        HUBLINK_KERNEL: kernel,
        HUBLINK_ROOTFS: root,
      });
      return out;
    },
    run,
    ops: (task) => run(opsFile, task),
    async killed(file, afterBytes) {
      const child = spawn(fwup, ["-a", "-q", "-d", image, "-t", "upgrade"], {
        stdio: ["pipe", "ignore", "ignore"],
      });
      child.stdin.on("error", () => undefined); // it is killed while the firmware is written to it
      const handle = await open(file);
      try {
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(afterBytes), 0, afterBytes, 0);
        const written = new Promise<void>((resolve) => {
          child.stdin.write(buffer.subarray(0, bytesRead), () => resolve());
        });
        await inTime(written, `fwup reads ${bytesRead} bytes`);
      } finally {
        await handle.close();
      }
      child.kill("SIGKILL");
      await inTime(once(child, "close"), "the end of fwup");
    },
    environment: async () => readEnvironment(environmentConfig),
    async writeBlocks(block, content) {
      const handle = await open(image, "r+");
      try {
        await handle.write(content, 0, content.length, block * BLOCK_BYTES);
      } finally {
        await handle.close();
      }
    },
    async rootText(slot) {
      return (await readBlocks(ROOT_OFFSETS[slot], 1)).toString("latin1").split("\n", 1)[0] ?? "";
    },
    readBlocks,
    async boot(kernelCommandLine) {
      const root = join(folder, `boot-${++boots}`);
      await mkdir(join(root, "proc/sys/kernel/random"), { recursive: true });
      await writeFile(join(root, "proc/cmdline"), `${kernelCommandLine}\n`);
      await writeFile(join(root, "proc/sys/kernel/random/boot_id"), `boot-${boots}\n`);
      return await openBoardFirmware({
        config: {
          devpath: image,
          fwup,
          metadata: "uboot-env",
          ubootEnvConfig: environmentConfig,
          opsFile: opsFile,
        },
        journal: await openJournal(folder, silentLog),
        root,
        clock: systemClock,
        log: silentLog,
      });
    },
  };
}

/** Begins with `text` and a line's end. The rest can't be compressed, so that the archive is as large as this. */
function noise(text: string, sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  let state = 1;
  for (let index = 0; index < sizeBytes; index++) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    bytes[index] = state >> 16;
  }
  bytes.write(`${text}\n`);
  return bytes;
}
