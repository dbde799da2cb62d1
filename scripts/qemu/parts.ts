/** Firmware, keys, and the files for the cards, which all scenarios share. They are built once per run. */
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { generateSigningKey, type MadeFirmware, type SigningKey } from "../../test/fwup/archive.ts";
import { baseOf } from "../package/manifest.ts";
import { pack } from "../package/pack.ts";
import { makeFirmware } from "./make-firmware.ts";

const ROOT = join(import.meta.dirname, "../..");
const COMMON = join(ROOT, "buildroot/board/common");

/** How one version of the firmware differs from the common one. */
interface Change {
  /** Files of its root file system. */
  readonly files?: Readonly<Record<string, string>>;
  /** More lines for its slot.env. */
  readonly slot?: readonly string[];
  /** Its kernel is not the one that the head of the kernel image describes. */
  readonly tornKernel?: true;
}

const VERSIONS = {
  "1.0.0": {},
  "2.0.0": {},
  /** Its own test always fails. */
  "3.0.0": { files: { "usr/sbin/is-good": "#!/bin/sh\nfalse\n" } },
  /** It looks for the hub at an address where nothing answers. */
  "4.0.0": { files: { "etc/hosts": "10.0.2.99 localhost\n" } },
  "5.0.0": { tornKernel: true },
  /** Its agent does not start. */
  "6.0.0": { files: { "usr/bin/hublink": "damaged\n" } },
  /** QEMU's watchdog has no countdown: the board is reset as soon as it is armed, and the kernel never starts. */
  "7.0.0": { slot: ["slot_watchdog=mw.l 0x20100024 0x5a0fffff; mw.l 0x2010001c 0x5a000122"] },
} as const satisfies Record<string, Change>;
export type Version = keyof typeof VERSIONS;

/** The parts of the cards and machines of all scenarios. */
export interface Parts {
  /** U-Boot's ELF file. */
  readonly uboot: string;
  readonly signingKey: SigningKey;
  readonly firmware: Readonly<Record<Version, MadeFirmware>>;
  /** The files of the data partition: the path there, and the file here. */
  readonly data: Readonly<Record<string, string>>;
  /** Which fwup runs on the board. */
  readonly fwup: "fwup" | "the stand-in for fwup";
}

/**
 * Builds the parts.
 * @param debian the folder with Debian's unpacked armel packages
 * @param agent the packaged armv6 binary
 */
export async function buildParts(debian: string, agent: string, dir: string): Promise<Parts> {
  await mkdir(dir, { recursive: true });
  const signingKey = generateSigningKey();
  const environment = {
    HUBLINK_PRODUCT: "qemu-rpi0",
    HUBLINK_DESCRIPTION: "A/B test firmware for QEMU's raspi0",
    HUBLINK_PLATFORM: "rpi0-qemu",
    HUBLINK_ARCHITECTURE: "arm",
    HUBLINK_AUTHOR: "hublink",
  };
  const { privateKey } = signingKey;
  const ops = join(dir, "ops.fw");
  await makeFirmware({
    path: ops,
    conf: join(COMMON, "ops.conf"),
    environment: { ...environment, HUBLINK_VERSION: "1.0.0" },
    privateKey,
  });
  for (const [version, change] of Object.entries<Change>(VERSIONS)) await writeChange(dir, version, change);
  const versions = Object.keys(VERSIONS);
  await promisify(execFile)(join(import.meta.dirname, "build-parts"), [debian, ops, dir, ...versions]);
  const firmware = async (version: Version): Promise<MadeFirmware> =>
    makeFirmware({
      path: join(dir, `${version}.fw`),
      conf: join(COMMON, "fwup.conf"),
      environment: {
        ...environment,
        HUBLINK_VERSION: version,
        HUBLINK_BOOT: join(dir, "boot.vfat"),
        HUBLINK_KERNEL: join(dir, `kernel-${version}.img`),
        HUBLINK_ROOTFS: join(dir, `root-${version}.img`),
      },
      privateKey,
    });
  const fwupArm = process.env["FWUP_ARM"];
  return {
    uboot: join(debian, "usr/lib/u-boot/rpi/uboot.elf"),
    signingKey,
    firmware: {
      "1.0.0": await firmware("1.0.0"),
      "2.0.0": await firmware("2.0.0"),
      "3.0.0": await firmware("3.0.0"),
      "4.0.0": await firmware("4.0.0"),
      "5.0.0": await firmware("5.0.0"),
      "6.0.0": await firmware("6.0.0"),
      "7.0.0": await firmware("7.0.0"),
    },
    data: {
      "bin/hublink": agent,
      "bin/fwup": fwupArm === undefined ? await standIn(dir) : resolve(fwupArm),
    },
    fwup: fwupArm === undefined ? "the stand-in for fwup" : "fwup",
  };
}

/** Writes the files that build-parts takes for a version. */
async function writeChange(
  dir: string,
  version: string,
  { files = {}, slot = [], tornKernel }: Change,
): Promise<void> {
  const changes = join(dir, `changes-${version}`);
  await mkdir(changes);
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(changes, name)), { recursive: true });
    await writeFile(join(changes, name), text, { mode: 0o755 });
  }
  await writeFile(join(dir, `slot-${version}.env`), slot.map((line) => `${line}\n`).join(""));
  if (tornKernel) await writeFile(join(dir, `torn-${version}`), "");
}

/** Packages the stand-in for fwup (test/fwup) as a binary for the board, in the same way as the agent. */
async function standIn(dir: string): Promise<string> {
  const bundle = join(dir, "fwup.cjs");
  await build({
    entryPoints: [join(ROOT, "test/fwup/main.ts")],
    outfile: bundle,
    bundle: true,
    platform: "node",
    target: "node20",
    format: "cjs",
    mainFields: ["module", "main"],
    banner: { js: "#!/usr/bin/env node" },
  });
  const binary = join(dir, "fwup");
  await pack(bundle, baseOf("armv6"), "armv6", binary);
  return binary;
}
