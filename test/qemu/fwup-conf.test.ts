/** The stand-in that makes archives from a fwup.conf makes the same archives as fwup. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeFirmware } from "../../scripts/qemu/make-firmware.ts";
import { generateSigningKey } from "../fwup/archive.ts";
import { readFwupConf } from "../../scripts/qemu/fwup-conf.ts";
import { realFwup } from "../fwup/run.ts";

const COMMON = join(import.meta.dirname, "../../buildroot/board/common");

let folder: string;
const at = (name: string): string => join(folder, name);

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "hublink-qemu-"));
});
after(async () => rm(folder, { recursive: true }));

describe("an archive made from a fwup.conf without fwup", () => {
  const fwup = realFwup();
  for (const name of ["fwup", "ops"]) {
    it(
      `is what fwup makes of ${name}.conf`,
      { skip: fwup === undefined && "no real fwup here" },
      async () => {
        const environment = {
          HUBLINK_PRODUCT: "a product",
          HUBLINK_DESCRIPTION: 'with "quotes"',
          HUBLINK_VERSION: "1.0.0",
          HUBLINK_PLATFORM: "rpi0-qemu",
          HUBLINK_ARCHITECTURE: "arm",
          HUBLINK_AUTHOR: "hublink",
          HUBLINK_BOOT: at("boot"),
          HUBLINK_KERNEL: at("kernel"),
          HUBLINK_ROOTFS: at("root"),
        };
        for (const file of ["boot", "kernel", "root"]) await writeFile(at(file), file.repeat(1000));
        const conf = join(COMMON, `${name}.conf`);
        const { privateKey } = generateSigningKey();
        const ours = await makeFirmware({ path: at("ours.fw"), conf, environment, privateKey });
        execFileSync(fwup ?? "", ["-c", "-f", conf, "-o", at("theirs.fw")], {
          env: { ...process.env, ...environment },
        });
        const metadata = execFileSync(fwup ?? "", ["-m", "-i", at("theirs.fw")], { encoding: "utf8" });
        // The UUID is a hash over the metadata and the files of the archive.
        assert.equal(/^meta-uuid="(.*)"$/m.exec(metadata)?.[1], ours.uuid);
        execFileSync(fwup ?? "", ["-V", "-i", at("ours.fw")]);
      },
    );
  }
});

describe("a fwup.conf", () => {
  it("that needs a variable which is not set is refused", async () => {
    await writeFile(at("unset.conf"), "meta-product = ${NOWHERE}\n");
    await assert.rejects(readFwupConf(at("unset.conf"), {}), /wants NOWHERE, which is not set/);
  });

  it("that can't be understood is refused", async () => {
    for (const text of ["task complete {", "}", "meta-product =", "x = 'single'"]) {
      await writeFile(at("broken.conf"), text);
      await assert.rejects(readFwupConf(at("broken.conf"), {}), /fwup.conf|broken.conf/);
    }
  });
});
