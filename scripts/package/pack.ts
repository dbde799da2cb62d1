import { chmod, copyFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { executableOf } from "./bases.ts";
import { starterOf, stripOf } from "./emulation.ts";
import { npmBaseOf, type Base, type Target } from "./manifest.ts";
import { run } from "./run.ts";

/** The word that pkg's patch puts where the script's path would be, which a binary has none of. */
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

/** The prologue takes the place of the first line, `#!…`, so that line numbers stay. */
function withPrologue(bundle: string, base: Base): string {
  const prologue = base.patchedByPkg ? `"use strict";${DROP_PKGS_WORD}` : "";
  return bundle.replace(/^#!.*/, prologue);
}

/**
 * What is put into a Node is laid out by its word size and its version, and the code cache by its CPU:
 * it is made by that Node itself. The seed makes it the same each time (V8 does not count it among the
 * flags that must agree with those at run time).
 */
function generator(folder: string, node: string, starter: readonly string[]): string {
  const command = [...starter, `'${node}'`, "--random-seed=1"].join(" ");
  return `#!/bin/sh\ncd '${folder}' && PKG_EXECPATH=PKG_INVOKE_NODEJS exec ${command} "$@"\n`;
}

/** pkg wants Node 22, and sea.ts one that reads TypeScript. */
async function host(): Promise<string> {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major > 22 || (major === 22 && minor >= 18)) return process.execPath;
  return executableOf(npmBaseOf(process.arch));
}
