/** The external tree as Buildroot's own tools see it: Kconfig always, the rest with a checkout named by BUILDROOT. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import * as v from "valibot";

const TREE = join(import.meta.dirname, "../../buildroot");
const CONFIGS = readdirSync(join(TREE, "configs"));
/** Debian's own Python, which finds Debian's modules; another one may come first on the PATH. */
const PYTHON = "/usr/bin/python3";

/** For node:test's `skip`: which module Python lacks; false when it has it. */
function missingModule(name: string): string | false {
  return spawnSync(PYTHON, ["-c", `import ${name}`]).status !== 0 && `needs ${PYTHON} with ${name}`;
}

describe("the tree's Kconfig", { skip: missingModule("kconfiglib") }, () => {
  const ReadSchema = v.object({ defined: v.array(v.string()), warnings: v.array(v.string()) });
  let kconfig: v.InferOutput<typeof ReadSchema>;
  before(() => {
    const script = join(import.meta.dirname, "kconfig.py");
    const text = execFileSync(PYTHON, [script, TREE], { encoding: "utf8" });
    kconfig = v.parse(ReadSchema, JSON.parse(text));
  });

  it("is valid, without a warning", () => {
    assert.deepEqual(kconfig.warnings, []);
    assert.ok(kconfig.defined.includes("BR2_PACKAGE_HUBLINK"));
  });

  for (const path of ["package/hublink/hublink.mk", ...CONFIGS.map((name) => `configs/${name}`)]) {
    it(`defines what ${path} names`, () => {
      const names = readFileSync(join(TREE, path), "utf8").match(/BR2_PACKAGE_HUBLINK\w*/g) ?? [];
      assert.ok(names.length > 0);
      assert.deepEqual(
        names.filter((name) => !kconfig.defined.includes(name)),
        [],
      );
    });
  }
});

const { BUILDROOT } = process.env;

describe("the tree in Buildroot", { skip: BUILDROOT === undefined && "needs BUILDROOT, a checkout" }, () => {
  const buildroot = BUILDROOT ?? "";
  let output = "";
  before(() => {
    output = mkdtempSync(join(tmpdir(), "hublink-buildroot-"));
  });
  after(() => {
    rmSync(output, { recursive: true });
  });
  const make = (...args: string[]): string =>
    execFileSync("make", ["-s", "-C", buildroot, `O=${output}`, `BR2_EXTERNAL=${TREE}`, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });

  it("passes check-package", { skip: missingModule("magic") || missingModule("flake8") }, () => {
    const files = execFileSync("git", ["ls-files", "--full-name", TREE], { cwd: TREE, encoding: "utf8" });
    const paths = files
      .trim()
      .split("\n")
      .map((path) => join(TREE, "..", path));
    const checker = join(buildroot, "utils/check-package");
    const { status, stdout, stderr } = spawnSync(PYTHON, [checker, "-b", ...paths], { encoding: "utf8" });
    assert.equal(status, 0, stdout + stderr);
  });

  for (const config of CONFIGS) {
    it(`${config} is saved by Buildroot without a change`, () => {
      const saved = join(output, config);
      make(config);
      make("savedefconfig", `BR2_DEFCONFIG=${saved}`);
      assert.equal(readFileSync(saved, "utf8"), readFileSync(join(TREE, "configs", config), "utf8"));
    });
  }

  it("knows the package and what it depends on", () => {
    make("hublink_rpi0_defconfig");
    const { hublink } = v.parse(
      v.object({ hublink: v.object({ licenses: v.string(), dependencies: v.array(v.string()) }) }),
      JSON.parse(make("hublink-show-info")),
    );
    assert.equal(hublink.licenses, "Apache-2.0");
    assert.ok(hublink.dependencies.includes("host-fwup"));
  });
});
