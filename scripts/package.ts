/**
 * Makes dist/hublink-linux-TARGET, the agent and its Node in one file, with its bill of materials and SHA256SUMS.
 * Usage: npm run package [-- [--out FOLDER] [TARGET ...]]   TARGET: armv6 armv7 aarch64 x64
 */
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Failure, messageOf } from "../src/platform/failure.ts";
import { bundle } from "./bundle.ts";
import { nameOf, sha256 } from "./package/bases.ts";
import { setUpFor } from "./package/emulation.ts";
import { baseOf, TARGETS, type Target } from "./package/manifest.ts";
import { pack } from "./package/pack.ts";
import { billOfMaterials } from "./package/sbom.ts";

async function packageAll(targets: readonly Target[], out: string): Promise<void> {
  setUpFor(targets.map(baseOf));
  const folder = await mkdtemp(join(tmpdir(), "hublink-bundle-"));
  try {
    const cjs = join(folder, "hublink.cjs");
    await bundle(cjs);
    await mkdir(out, { recursive: true });
    for (const target of targets) {
      const base = baseOf(target);
      const binary = join(out, `hublink-linux-${target}`);
      await pack(cjs, base, target, binary);
      await writeFile(`${binary}.cdx.json`, await billOfMaterials(target, base, await sha256(binary)));
      const { size } = await stat(binary);
      console.log(`${binary}  ${(size / 1e6).toFixed(1)} MB  on ${nameOf(base)}`);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  await writeFile(join(out, "SHA256SUMS"), await checksums(out));
}

/** Checksums of all binaries in the folder and their bills of materials, in the format of `sha256sum --check`. */
async function checksums(out: string): Promise<string> {
  const names = (await readdir(out))
    .filter((name) => /^hublink-linux-[^.]+(\.cdx\.json)?$/.test(name))
    .sort();
  const lines = await Promise.all(names.map(async (name) => `${await sha256(join(out, name))}  ${name}\n`));
  return lines.join("");
}

function asTarget(word: string): Target {
  const target = TARGETS.find((one) => one === word);
  if (target === undefined)
    throw new Failure("usage", `there is no target ${word}; there are ${TARGETS.join(", ")}`);
  return target;
}

try {
  const { values, positionals } = parseArgs({
    options: { out: { type: "string", default: join(import.meta.dirname, "../dist") } },
    allowPositionals: true,
  });
  const targets = positionals.length === 0 ? TARGETS : positionals.map(asTarget);
  await packageAll(targets, resolve(values.out));
} catch (error) {
  console.error(`package: ${messageOf(error)}`);
  process.exitCode = 1;
}
