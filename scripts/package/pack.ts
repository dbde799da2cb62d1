/**
 * Packing: the bundle and a Node become one file. The same bundle and base must give the same bytes, wherever the
 * folders are; test/package/reproducible.test.ts packs twice and compares.
 */
import { chmod, copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { executableOf } from "./bases.ts";
import { starterOf, stripOf } from "./emulation.ts";
import { npmBaseOf, type Base, type Target } from "./manifest.ts";
import { run } from "./run.ts";

/** Removes the word that pkg's patch puts in place of the script's path, which a binary does not have. */
const DROP_PKGS_WORD = `process.argv[2]==="PKG_DUMMY_ENTRYPOINT"&&process.argv.splice(2,1);`;

/** Puts the bundle into a base. The same bundle and base give the same bytes. */
export async function pack(bundle: string, base: Base, target: Target, output: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "hublink-package-"));
  try {
    await writeFile(join(folder, "hublink.cjs"), withPrologue(await readFile(bundle, "utf8"), base));
    const node = await executableOf(base);
    const strip = stripOf(base);
    if (strip === undefined) await copyFile(node, join(folder, "node"));
    else await run(strip, ["--strip-all", "-o", join(folder, "node"), node]);
    await chmod(join(folder, "node"), 0o755);
    await writeFile(join(folder, "generator"), generator(folder, node, starterOf(base, target)), {
      mode: 0o755,
    });
    const made = join(folder, "hublink");
    const home = join(folder, "home");
    await mkdir(home);
    const env = { HOME: home, TMPDIR: folder, NODE_OPTIONS: "" };
    await run(await host(), [fileURLToPath(import.meta.resolve("./sea.ts")), folder, made], { env });
    await chmod(made, 0o755);
    await mkdir(dirname(output), { recursive: true });
    await copyFile(made, `${output}.new`);
    await rename(`${output}.new`, output);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The prologue replaces the first line, `#!…`, so that line numbers stay the same. */
function withPrologue(bundle: string, base: Base): string {
  const prologue = base.patchedByPkg ? `"use strict";${DROP_PKGS_WORD}` : "";
  return bundle.replace(/^#!.*/, prologue);
}

/**
 * A script that runs the target's own Node. The data that is put into a Node depends on its word size and version,
 * and the code cache on its CPU, so that Node itself must make them. The seed makes the result the same each time; V8
 * does not require that the seed is the same at run time.
 */
function generator(folder: string, node: string, starter: readonly string[]): string {
  const command = [...starter, `'${node}'`, "--random-seed=1"].join(" ");
  return `#!/bin/sh\ncd '${folder}' && PKG_EXECPATH=PKG_INVOKE_NODEJS exec ${command} "$@"\n`;
}

/** A Node that can run sea.ts: pkg needs Node 22, and 22.18 is the first one that reads TypeScript. */
async function host(): Promise<string> {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > 22 || (major === 22 && minor >= 18)) return process.execPath;
  return executableOf(npmBaseOf(process.arch));
}
