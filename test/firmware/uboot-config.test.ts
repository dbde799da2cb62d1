/** fw_env.config as the U-Boot tools read it, and a clear refusal of everything else. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { parseEnvironmentConfig } from "../../src/firmware/uboot-format.ts";
import { Failure } from "../../src/platform/failure.ts";

const parse = (text: string): unknown => parseEnvironmentConfig(text, "/etc/fw_env.config");

describe("fw_env.config", () => {
  it("names one copy, or two of a redundant environment, between comments and blank lines", () => {
    const text =
      "# device offset size\n\n/dev/mmcblk0\t0x2000 0x4000 0x200 32 # first\n  /dev/mmcblk1 1024 0x4000\n";
    assert.deepEqual(parse(text), [
      { device: "/dev/mmcblk0", offsetBytes: 0x2000, sizeBytes: 0x4000 },
      { device: "/dev/mmcblk1", offsetBytes: 1024, sizeBytes: 0x4000 },
    ]);
    assert.deepEqual(parse("disk.img 0 0x100"), [{ device: "disk.img", offsetBytes: 0, sizeBytes: 0x100 }]);
  });

  it("has numbers as the U-Boot tools read them: offsets as in C, sizes always hexadecimal", () => {
    assert.deepEqual(parse("disk.img 8192 2000"), [
      { device: "disk.img", offsetBytes: 0x2000, sizeBytes: 0x2000 },
    ]);
    assert.deepEqual(parse("disk.img 020000 0X2000"), [
      { device: "disk.img", offsetBytes: 0x2000, sizeBytes: 0x2000 },
    ]);
  });

  it("counts a negative offset from the end of the device", () => {
    assert.deepEqual(parse("d 0 0x2000\nd -0x1000 0x2000"), [
      { device: "d", offsetBytes: 0, sizeBytes: 0x2000 },
      { device: "d", offsetBytes: -0x1000, sizeBytes: 0x2000 },
    ]);
  });

  const refusals: readonly (readonly [what: string, text: string, message: RegExp])[] = [
    ["nothing but comments", "# nothing\n", /fw_env\.config names no device/],
    ["a line that is too short", "# x\n/dev/mmcblk0 0x2000\n", /line 2: expected `device offset size`/],
    [
      "an offset that is not a number",
      "/dev/mmcblk0 0x20g0 0x4000",
      /line 1: the offset 0x20g0 is not a number/,
    ],
    ["an offset that is no more than a sign", "/dev/mmcblk0 - 0x4000", /line 1: the offset - is not/],
    ["an offset that is too large", "/dev/mmcblk0 0xfffffffffffffff 0x4000", /line 1: the offset/],
    [
      "a size that is not a number",
      "d 0 0x100\nd 0x200 4k",
      /line 2: the size 4k is not a hexadecimal number/,
    ],
    ["a size of 0", "/dev/mmcblk0 0 0", /line 1: the size 0 \(hexadecimal\) is 0 bytes/],
    ["a size that no memory holds", "/dev/mmcblk0 0 0xffffffff", /line 1: the size/],
    ["three copies", "d 0 0x100\nd 0x100 0x100\nd 0x200 0x100", /more than two devices/],
    ["copies of different sizes", "d 0 0x100\nd 0x200 0x200", /differ in size/],
    ["copies that overlap", "d 0 0x100\nd 0xff 0x100", /overlap/],
    ["copies that overlap at the end", "d -0x200 0x100\nd -0x1ff 0x100", /overlap/],
    [
      "libubootenv's YAML form",
      "uboot:\n  size : 0x4000\n  devices:\n    - path : /dev/mmcblk0\n",
      /line 1: libubootenv's YAML form is not understood; write lines/,
    ],
  ];
  for (const [what, text, message] of refusals) {
    it(`is refused for ${what}`, () => {
      assert.throws(() => parse(text), { name: "Failure", kind: "config", message });
    });
  }

  it("of any content is parsed, or refused with its path", () => {
    const word = fc.oneof(fc.string(), fc.constantFrom("0x", "0x10", "-", "#", "\n", " ", ":", "99", "dev"));
    fc.assert(
      fc.property(fc.array(word), (words) => {
        try {
          parse(words.join(" "));
        } catch (error) {
          assert.ok(error instanceof Failure);
          assert.match(error.message, /^\/etc\/fw_env\.config/);
        }
      }),
      { numRuns: 25_000 },
    );
  });
});
