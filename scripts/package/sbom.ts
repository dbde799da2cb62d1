/** The bill of materials of a binary: what is inside, with versions, licences and hashes. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import * as v from "valibot";
import { VERSION } from "../../src/version.ts";
import { nameOf } from "./bases.ts";
import type { Base, Target } from "./manifest.ts";

const root = join(import.meta.dirname, "../..");

const lockSchema = v.object({
  packages: v.record(
    v.string(),
    v.object({
      version: v.optional(v.string()),
      integrity: v.optional(v.string()),
      license: v.optional(v.string()),
    }),
  ),
});

/**
 * The bill of materials of a binary, CycloneDX 1.6 in JSON: the npm packages that esbuild put into the bundle, with
 * the versions and hashes of package-lock.json, and the Node. It contains no time and no random number, so that it can
 * be reproduced.
 */
export async function billOfMaterials(target: Target, base: Base, binarySha256: string): Promise<string> {
  const bill = {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      component: {
        type: "application",
        "bom-ref": "hublink",
        name: `hublink-linux-${target}`,
        version: VERSION,
        licenses: [{ license: { id: "Apache-2.0" } }],
        hashes: [{ alg: "SHA-256", content: binarySha256 }],
      },
    },
    components: [...(await bundledPackages()), nodeComponent(base)],
    dependencies: [] as { ref: string; dependsOn: string[] }[],
  };
  bill.dependencies = [{ ref: "hublink", dependsOn: bill.components.map((one) => one["bom-ref"]) }];
  return `${JSON.stringify(bill, undefined, 2)}\n`;
}

function nodeComponent(base: Base) {
  const purl = "npm" in base ? `pkg:npm/${nameOf(base)}` : `pkg:generic/node@${base.node}?arch=${base.arch}`;
  return {
    type: "platform",
    "bom-ref": purl,
    name: "node",
    version: base.node,
    description: `${nameOf(base)}, made by ${base.madeBy}`,
    licenses: [{ license: { id: "MIT" } }],
    purl,
    hashes: [{ alg: "SHA-256", content: base.sha256 }],
  };
}

async function bundledPackages() {
  const { packages } = v.parse(
    lockSchema,
    JSON.parse(await readFile(join(root, "package-lock.json"), "utf8")),
  );
  return (await bundledFolders()).map((folder) => {
    const { version = "", integrity = "", license = "" } = packages[folder] ?? {};
    const name = folder.slice(folder.lastIndexOf("node_modules/") + "node_modules/".length);
    const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
    const sha512 = Buffer.from(integrity.replace("sha512-", ""), "base64").toString("hex");
    return {
      type: "library",
      "bom-ref": purl,
      name,
      version,
      licenses: [{ license: { id: license } }],
      purl,
      hashes: [{ alg: "SHA-512", content: sha512 }],
    };
  });
}

/** The folders of the packages that are in the bundle, in whole or in part, as package-lock.json names them. */
async function bundledFolders(): Promise<string[]> {
  const { metafile } = await build({
    entryPoints: [join(root, "src/main.ts")],
    absWorkingDir: root,
    outfile: "hublink.cjs",
    write: false,
    metafile: true,
    bundle: true,
    platform: "node",
    external: ["bufferutil", "utf-8-validate"],
  });
  const inputs = Object.values(metafile.outputs).flatMap((output) => Object.entries(output.inputs));
  const folders = inputs
    .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
    // The path may begin elsewhere: node_modules can be a link.
    .map(([path]) => /(node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1])
    .filter((folder) => folder !== undefined);
  return [...new Set(folders)].sort();
}
