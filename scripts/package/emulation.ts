/**
 * Programs for other CPUs on this machine: the emulator that runs them, and the Debian packages that packing needs.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../../src/platform/failure.ts";
import type { Base, Target } from "./manifest.ts";

/** Where Debian's cross packages put the libraries that the aarch64 base needs. */
const AARCH64_SYSROOT = "/usr/aarch64-linux-gnu";
const AARCH64_LOADER = `${AARCH64_SYSROOT}/lib/ld-linux-aarch64.so.1`;

/** The oldest core that each binary supports: qemu refuses instructions that this core lacks. */
const CPUS: Readonly<Record<Target, string>> = {
  armv6: "arm1176",
  armv7: "cortex-a7",
  aarch64: "cortex-a53",
  x64: "",
};

interface Need {
  readonly debian: string;
  readonly command: string;
  readonly why: string;
}

const NEEDS = {
  xz: { debian: "xz-utils", command: "xz", why: "the Node bases of the 32-bit ARMs are compressed with it" },
  arm: {
    debian: "qemu-user-static",
    command: "qemu-arm-static",
    why: "what is put into an ARM binary is made, and proven, by its own Node",
  },
  arm64: {
    debian: "qemu-user-static",
    command: "qemu-aarch64-static",
    why: "what is put into an ARM binary is made, and proven, by its own Node",
  },
  libraries: {
    debian: "libstdc++6-arm64-cross",
    command: AARCH64_LOADER,
    why: "the aarch64 Node needs libc and libstdc++ to run here",
  },
  strip: { debian: "binutils", command: "strip", why: "symbols are an eighth of a Node" },
  stripAarch64: {
    debian: "binutils-aarch64-linux-gnu",
    command: "aarch64-linux-gnu-strip",
    why: "symbols are a sixth of an aarch64 Node",
  },
} as const satisfies Record<string, Need>;

/** The words before a program's path that start it on this machine. */
export function starterOf(base: Base, target: Target): readonly string[] {
  if (base.arch === process.arch) return [];
  if (base.arch === "arm") return ["qemu-arm-static", "-cpu", CPUS[target]];
  if (base.arch === "arm64") return ["qemu-aarch64-static", "-cpu", CPUS[target], "-L", AARCH64_SYSROOT];
  throw new Failure("unavailable", "an x64 binary is packed and tried on x64 only");
}

/** The strip program for the base's CPU; undefined when the base is stripped already. */
export function stripOf(base: Base): string | undefined {
  if (!("npm" in base)) return undefined;
  return base.arch === "arm64" && process.arch !== "arm64" ? NEEDS.stripAarch64.command : NEEDS.strip.command;
}

/** Says what this machine lacks to run a base's programs; undefined when it lacks nothing. */
export function missingToRun(base: Base): string | undefined {
  if (base.arch === "x64" && process.arch !== "x64") return "x64 programs run on x64 only";
  const missing = needsToRun(base).find(({ command }) => !isThere(command));
  return missing && `${missing.debian} is missing: ${missing.why}`;
}

/**
 * Installs the programs that packing these bases needs, through scripts/setup.
 * @throws Failure `unavailable` when something stays missing
 */
export function setUpFor(bases: readonly Base[]): void {
  const needs = [...new Set(bases.flatMap((base) => [...needsToRun(base), ...needsToPack(base)]))];
  if (needs.every(({ command }) => isThere(command))) return;
  const words = needs.map(({ debian, command, why }) => `${debian}=${command}=${why}`);
  spawnSync(join(import.meta.dirname, "../setup"), words, { stdio: "inherit" });
  const missing = needs.find(({ command }) => !isThere(command));
  if (missing) throw new Failure("unavailable", `${missing.debian} is missing: ${missing.why}`);
}

function needsToRun({ arch }: Base): Need[] {
  if (arch === process.arch) return [];
  return arch === "arm64" ? [NEEDS.arm64, NEEDS.libraries] : [NEEDS.arm];
}

function needsToPack(base: Base): Need[] {
  if (!("npm" in base)) return [NEEDS.xz];
  return [stripOf(base) === NEEDS.stripAarch64.command ? NEEDS.stripAarch64 : NEEDS.strip];
}

function isThere(command: string): boolean {
  if (command.includes("/")) return existsSync(command);
  return (process.env["PATH"] ?? "").split(":").some((folder) => existsSync(join(folder, command)));
}
