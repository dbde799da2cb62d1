/** The bundle runs on a Node without ICU, as the 32-bit binaries have it. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { bundle } from "../../scripts/bundle.ts";

describe("the bundle", () => {
  let folder = "";
  let code = "";
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "hublink-bundle-"));
    await bundle(join(folder, "hublink.cjs"));
    code = await readFile(join(folder, "hublink.cjs"), "utf8");
  });
  after(async () => rm(folder, { recursive: true }));

  const wants: [what: string, pattern: RegExp][] = [
    // In systeminformation, two backslashes are text for PowerShell, and Intl is used only if it is there;
    // a class of @peculiar/asn1-schema has a normalize() of its own.
    ["properties of Unicode in regular expressions", /(?<!\\)\\p\{/],
    ["Intl", /(?<!try\{\w+=)\bIntl\./],
    ["normalize()", /(?<!ConverterRegistry)\.normalize\(/],
    ["native speed-ups of ws", /bufferutil|utf-8-validate/],
    ["onoff's native addon", /epoll\.node|bindings\(/],
  ];
  for (const [what, pattern] of wants) {
    it(`does without ${what}, which the 32-bit binaries' Node lacks`, () => {
      assert.equal(pattern.exec(code), null);
    });
  }
});
