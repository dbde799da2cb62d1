/**
 * A program for Node.js 22.18 or later, which pkg wants: puts `hublink.cjs` into a Node.
 * Arguments: the folder with `hublink.cjs`, `node` (what it is put into) and `generator` (what starts
 * that Node here), and the file to write. HOME must be a folder that pkg may fill.
 */
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import sea from "@yao-pkg/pkg/lib-es5/sea.js";

const [folder = "", output = ""] = process.argv.slice(2);
// pkg fetches a Node unless one is in its cache. There is no armv6 to it; the word names a folder only.
const arch = "armv7l";
const cache = join(homedir(), ".pkg-cache/sea");
const unpacked = join(cache, `node-${process.version}-linux-${arch}`);
await mkdir(join(unpacked, "bin"), { recursive: true });
await copyFile(join(folder, "node"), join(unpacked, "bin/node"));
for (const done of [`${unpacked}.tar.gz`, `${unpacked}.tar.gz.ok`, join(unpacked, "bin/node.ok")])
  await writeFile(done, "");

// For a foreign CPU and its own version, pkg has the blob made by the Node that runs it: be that one.
process.execPath = join(folder, "generator");
const seaConfig = {
  main: "hublink.cjs", // shown in stack traces; the generator runs where it lies
  disableExperimentalSEAWarning: true,
  useSnapshot: false,
  useCodeCache: true,
};
await sea.default(join(folder, "hublink.cjs"), {
  targets: [{ nodeRange: `node${process.versions.node}`, platform: "linux", arch, output }],
  signature: false,
  seaConfig,
});
