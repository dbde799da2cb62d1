/**
 * Puts `hublink.cjs` into a Node. This is a program of its own, since it needs Node.js 22.18 or later: pkg needs 22.
 * Arguments: the folder with `hublink.cjs`, `node` (the Node that it is put into) and `generator` (a script that runs
 * that Node on this machine), and the file to write. HOME must be a folder that pkg may fill.
 */
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import sea from "@yao-pkg/pkg/lib-es5/sea.js";

const [folder = "", output = ""] = process.argv.slice(2);
// pkg downloads a Node unless one is in its cache. pkg does not know armv6; here the word only names a folder.
const arch = "armv7l";
const cache = join(homedir(), ".pkg-cache/sea");
const unpacked = join(cache, `node-${process.version}-linux-${arch}`);
await mkdir(join(unpacked, "bin"), { recursive: true });
await copyFile(join(folder, "node"), join(unpacked, "bin/node"));
for (const done of [`${unpacked}.tar.gz`, `${unpacked}.tar.gz.ok`, join(unpacked, "bin/node.ok")])
  await writeFile(done, "");

// pkg makes the blob with the Node that runs pkg. It must be the target's own Node, so name the generator as that.
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
