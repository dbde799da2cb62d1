/** The Nodes that the binaries are built on. A build must not use another Node than the manifest names. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { executableOf, sha256 } from "../../scripts/package/bases.ts";
import type { Base } from "../../scripts/package/manifest.ts";
import { run } from "../../scripts/package/run.ts";
import { Failure } from "../../src/platform/failure.ts";

describe("a Node base", () => {
  const folders = process.env["HUBLINK_NODE_BASES"];
  let folder = "";
  const base: Base = {
    node: "20.0.0",
    arch: "arm",
    file: "node.xz",
    sha256: randomBytes(32).toString("hex"),
    patchedByPkg: false,
    madeBy: "scripts/node-base",
  };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "hublink-bases-"));
    process.env["HUBLINK_NODE_BASES"] = folder;
  });
  after(async () => {
    if (folders === undefined) delete process.env["HUBLINK_NODE_BASES"];
    else process.env["HUBLINK_NODE_BASES"] = folders;
    await rm(folder, { recursive: true });
  });

  it("that is missing is reported in one line, with the variable that sets its folder", async () => {
    await assert.rejects(executableOf(base), (error: Failure) => {
      assert.ok(error instanceof Failure);
      assert.equal(
        error.message,
        `the Node base ${folder}/node.xz is missing; name its folder with HUBLINK_NODE_BASES, or make it with scripts/node-base`,
      );
      return true;
    });
  });

  it("that differs from the manifest is refused, and both checksums are shown", async () => {
    await writeFile(join(folder, "node"), "not a Node");
    await run("xz", [join(folder, "node")]);
    await assert.rejects(executableOf(base), (error: Failure) => {
      assert.ok(error instanceof Failure);
      assert.match(
        error.message,
        new RegExp(`^node\\.xz has SHA-256 [0-9a-f]{64}, not ${base.sha256} as in`),
      );
      return true;
    });
  });

  it("that matches the manifest is unpacked and runs", async () => {
    await writeFile(join(folder, "node"), `#!/bin/sh\necho ${base.sha256}\n`);
    const right = { ...base, sha256: await sha256(join(folder, "node")) };
    await run("xz", ["--force", join(folder, "node")]);
    const executable = await executableOf(right);
    assert.equal(await run(executable, []), `${base.sha256}\n`);
    await rm(join(executable, ".."), { recursive: true });
  });
});
