/** All rounds share these and change none: firmware, disks, the bundle, the library that simulates power cuts. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundle } from "../../scripts/bundle.ts";
import { Factory } from "../agent/factory.ts";
import { environmentConfig, makeBoard, type MadeFirmware } from "../fwup/archive.ts";
import { layoutWithSlots, type Layout } from "../fwup/layout.ts";
import { realFwup, runFwup, STAND_IN } from "../fwup/run.ts";
import { boot, type KnownFirmware } from "./boot-loader.ts";
import { readLifeState, writeLifeFaults } from "./life-faults.ts";
import { DISK, readMedium, type Medium } from "./medium.ts";

/**
 * Kinds of boards: with a U-Boot environment that is kept once, with a backup of the boot script's own, or
 * twice; and one with firmware that takes a while to download.
 */
export type ModelName = "single" | "redundant" | "large";

/** The firmware and disks of one kind of board. */
export interface Model {
  readonly layout: Layout;
  readonly factory: Factory;
  /** The firmware of a board that leaves the factory. */
  readonly old: MadeFirmware;
  /** The firmware that boards are updated to. */
  readonly target: MadeFirmware;
  /** The firmware that people install by hand. */
  readonly byHand: MadeFirmware;
  readonly known: readonly KnownFirmware[];
  /** A board from the factory: `old` in slot a, slot b is empty. */
  readonly fresh: Medium;
  /** A board that was updated once: `old` in slot b, the firmware before it in slot a. */
  readonly used: Medium;
}

/** All that rounds share. */
export interface World {
  readonly dir: string;
  /** It is made at its first use. */
  readonly model: (name: ModelName) => Promise<Model>;
  /** The bundle that `npm run build` makes. */
  readonly agent: string;
  readonly fwup: string;
  /** Such as "1.16.0", or "stand-in". */
  readonly fwupVersion: string;
  /** The library of preload/. */
  readonly preload: string;
  /** A folder that comes first on an agent's PATH: its programs keep the agent from rebooting this machine. */
  readonly bin: string;
  remove(): Promise<void>;
  /** Removes it while agents may still run in it. */
  removeNow(): void;
}

/** Several parts of 1 MiB, which leave room in the slot. */
const ROOTFS_BYTES = { small: 2_400_000, large: 24_000_000 };
const SLOT_BLOCKS = { small: 5120, large: 49_152 };
/** The place of boot.cmd's backup. */
const SECOND_ENVIRONMENT = 0x110;
/** As on the cards of buildroot/. */
const UNUSED = { offset: 768, blocks: 512 };

/** Makes a world. @throws Error when there is no C compiler */
export async function setUpWorld(): Promise<World> {
  const dir = await mkdtemp(join(tmpdir(), "hublink-torture-"));
  const bin = join(dir, "bin");
  await mkdir(bin);
  for (const name of ["reboot", "sync"]) await writeFile(join(bin, name), "#!/bin/sh\n", { mode: 0o755 });
  const preload = compilePreload(join(dir, "preload.so"));
  requireTraceable(realFwup() ?? STAND_IN, preload, dir);
  const agent = join(dir, "hublink.cjs");
  await bundle(agent);
  const real = realFwup();
  const fwup = real ?? STAND_IN;
  const fwupVersion =
    real === undefined ? "stand-in" : execFileSync(real, ["--version"], { encoding: "utf8" }).trim();
  const models = new Map<ModelName, Promise<Model>>();
  return {
    dir,
    async model(name) {
      const made = models.get(name) ?? makeModel(join(dir, name), name);
      models.set(name, made);
      return made;
    },
    agent,
    fwup,
    fwupVersion,
    preload,
    bin,
    remove: async () => rm(dir, { recursive: true, force: true }),
    removeNow: () => rmSync(dir, { recursive: true, force: true }),
  };
}

export function hasCompiler(): boolean {
  try {
    execFileSync("cc", ["--version"], { stdio: "ignore" });
    return process.platform === "linux";
  } catch {
    return false; // not installed
  }
}

/** Compiles preload/. @returns the library's path */
export function compilePreload(library: string): string {
  const sources = ["log.c", "files.c", "refused.c", "surroundings.c"].map((name) =>
    join(import.meta.dirname, "preload", name),
  );
  const flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"];
  execFileSync("cc", [...flags, "-o", library, ...sources, "-ldl", "-lpthread"], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  return library;
}

/**
 * Refuses a program that does not load the library, such as one that is linked statically: what it writes would not be
 * seen, and every power cut would leave a perfect disk.
 * @throws Error
 */
export function requireTraceable(program: string, preload: string, dir: string): void {
  const state = join(dir, "traceable");
  writeLifeFaults(state, {});
  execFileSync(program, ["--version"], {
    stdio: "ignore",
    env: {
      ...process.env,
      LD_PRELOAD: preload,
      TORTURE_MEDIUM: dir,
      TORTURE_LOG: join(dir, "traceable-changes"),
      TORTURE_STATE: state,
    },
  });
  if (readLifeState(state).agent === 0)
    throw new Error(
      `${program} does not load ${preload}, so its writes can't be traced; is it linked statically?`,
    );
}

async function makeModel(dir: string, name: ModelName): Promise<Model> {
  const size = name === "large" ? "large" : "small";
  const layout: Layout = {
    ...layoutWithSlots(SLOT_BLOCKS[size]),
    bootedBy: "environment",
    unused: UNUSED,
    ...(name === "redundant" && { secondEnvironmentOffset: SECOND_ENVIRONMENT }),
  };
  await mkdir(dir);
  const factory = await Factory.open(dir, layout);
  const make = async (version: string): Promise<{ made: MadeFirmware; known: KnownFirmware }> => {
    const content = createHash("shake256", { outputLength: ROOTFS_BYTES[size] }).update(version).digest();
    const made = await factory.firmware(version, { rootfs: content });
    return { made, known: { version, uuid: made.uuid, content } };
  };
  const [oldest, old, target] = [await make("0.9.0"), await make("1.0.0"), await make("2.0.0")];
  const byHand = await make("1.5.0");
  const known = [oldest.known, old.known, target.known, byHand.known];
  const media = async (name: string, files: readonly MadeFirmware[]): Promise<Medium> => {
    const folder = join(dir, name);
    await mkdir(folder);
    const [first = old.made, ...updates] = files;
    const { disk } = await makeBoard({ dir: folder, firmware: first.path, layout });
    const fwup = realFwup() ?? STAND_IN;
    for (const { path } of updates) await runFwup(fwup, ["-aq", "-d", disk, "-t", "upgrade", "-i", path]);
    await runFwup(fwup, ["-aq", "-d", disk, "-t", "validate", "-i", factory.opsFile]);
    const medium = new Map([[DISK, readMedium(folder).get(DISK) ?? Buffer.alloc(0)]]);
    boot(medium.get(DISK) ?? Buffer.alloc(0), layout, known); // leaves its backup of the environment
    return medium;
  };
  return {
    layout,
    factory,
    old: old.made,
    target: target.made,
    byHand: byHand.made,
    known,
    fresh: await media("fresh", [old.made]),
    used: await media("used", [oldest.made, old.made]),
  };
}

/** The fw_env.config of a disk of this model. */
export function environmentConfigOf(model: Model, disk: string): string {
  return environmentConfig(disk, model.layout);
}
