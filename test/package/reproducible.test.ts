/** A release can be made again: the same commit gives the same bytes, and the lists beside the binaries are true. */
import assert from "node:assert/strict";
import { cp, mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { localFile, sha256 } from "../../scripts/package/bases.ts";
import { missingToRun } from "../../scripts/package/emulation.ts";
import { baseOf } from "../../scripts/package/manifest.ts";
import { run } from "../../scripts/package/run.ts";

const root = join(import.meta.dirname, "../..");
const base = baseOf("armv6");
const file = localFile(base) ?? "";

describe("npm run package", { skip: reasonToSkip() }, () => {
  let folder = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "hublink-reproducible-"));
    await packageIn(root, join(folder, "first"));
    const copy = join(folder, "somewhere/else");
    for (const name of ["src", "scripts", "vendor", "package.json", "package-lock.json", "tsconfig.json"])
      await cp(join(root, name), join(copy, name), { recursive: true });
    await symlink(join(root, "node_modules"), join(copy, "node_modules"));
    await packageIn(copy, join(folder, "second"));
  });
  after(async () => rm(folder, { recursive: true }));

  it("makes the same bytes in another folder", async () => {
    const names = await readdir(join(folder, "first"));
    assert.deepEqual(names.sort(), ["SHA256SUMS", "hublink-linux-armv6", "hublink-linux-armv6.cdx.json"]);
    for (const name of names)
      assert.equal(
        await sha256(join(folder, "second", name)),
        await sha256(join(folder, "first", name)),
        name,
      );
  });

  it("contains no path of the folder it was made in", async () => {
    const bytes = await readFile(join(folder, "second/hublink-linux-armv6"));
    assert.equal(bytes.includes(folder), false);
    assert.equal(bytes.includes("hublink-package-"), false);
  });

  it("lists what is in the binary, with hashes", async () => {
    const bill = JSON.parse(await readFile(join(folder, "first/hublink-linux-armv6.cdx.json"), "utf8")) as {
      specVersion: string;
      components: { name: string; version: string; hashes: { content: string }[] }[];
    };
    assert.equal(bill.specVersion, "1.6");
    assert.deepEqual(
      bill.components.map(({ name }) => name),
      [
        "@msgpack/msgpack",
        "@peculiar/asn1-csr",
        "@peculiar/asn1-schema",
        "@peculiar/asn1-x509",
        "@peculiar/utils",
        "asn1js",
        "lodash.debounce",
        "onoff",
        "pvtsutils",
        "pvutils",
        "semver",
        "smol-toml",
        "systeminformation",
        "tslib",
        "undici",
        "valibot",
        "ws",
        "node",
      ],
    );
    const node = bill.components.at(-1);
    assert.equal(node?.version, base.node);
    assert.equal(node.hashes[0]?.content, base.sha256);
    for (const { hashes } of bill.components) assert.match(hashes[0]?.content ?? "", /^[0-9a-f]{64,128}$/);
  });

  it("writes checksums that sha256sum confirms", async () => {
    await run("sha256sum", ["--check", "--strict", "SHA256SUMS"], { cwd: join(folder, "first") });
  });
});

async function packageIn(tree: string, out: string): Promise<void> {
  const args = ["--import", "tsx", join(tree, "scripts/package.ts"), "--out", out, "armv6"];
  await run(process.execPath, args, {
    cwd: tree,
    env: { HUBLINK_NODE_BASES: dirname(file), SOURCE_DATE_EPOCH: "1700000000" },
  });
}

function reasonToSkip(): string | false {
  if (!existsSync(file)) return `${file} is missing`;
  return missingToRun(base) ?? false;
}
