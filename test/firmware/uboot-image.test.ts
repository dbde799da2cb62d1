/** The bytes of a U-Boot environment: their format, the choice between two copies, and damaged data. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import {
  decodeEnvironment,
  encodeEnvironment,
  type StoredEnvironment,
} from "../../src/firmware/uboot-format.ts";
import { Failure } from "../../src/platform/failure.ts";

const SIZE_BYTES = 64;
const CONFIG = "/etc/fw_env.config";

function decode(...copies: readonly Uint8Array[]): StoredEnvironment {
  return decodeEnvironment(
    copies.map((bytes, index) => ({ bytes, name: `/dev/mmcblk0 at 0x${index}000` })),
    CONFIG,
  );
}

function encode(variables: Readonly<Record<string, string>>, flag?: number): Uint8Array {
  return encodeEnvironment(new Map(Object.entries(variables)), SIZE_BYTES, flag);
}

/** A single copy with a right CRC over any data. */
function sealed(data: Uint8Array): Uint8Array {
  const bytes = Buffer.concat([Buffer.alloc(4), data]);
  bytes.writeUInt32LE(crc32(data), 0);
  return bytes;
}

/** A copy with one flipped bit in its data, as from a worn-out flash cell. */
function damaged(bytes: Uint8Array): Uint8Array {
  const copy = Buffer.from(bytes);
  copy.writeUInt8((copy[8] ?? 0) ^ 1, 8);
  return copy;
}

describe("the bytes of a U-Boot environment", () => {
  it("are those of mkenvimage: CRC32, name=value strings, an empty string, padding", () => {
    const expected = Buffer.alloc(SIZE_BYTES);
    expected.write("a=1\0bootcmd=run x=y\0", 4);
    expected.writeUInt32LE(crc32(expected.subarray(4)), 0);
    assert.deepEqual(Buffer.from(encode({ bootcmd: "run x=y", a: "1" })), expected);
  });

  it("have a flag byte after the CRC in a redundant environment", () => {
    const bytes = encode({ a: "1" }, 7);
    assert.equal(Buffer.from(bytes).toString("latin1", 4, 9), "\x07a=1\0");
    assert.deepEqual(decode(bytes, bytes), { variables: new Map([["a", "1"]]), current: 0, flag: 7 });
  });

  it("may end without an empty string when the last string fills the space", () => {
    assert.equal(decode(sealed(Buffer.from("a=1\0b=22\0"))).variables.get("b"), "22");
  });

  it("keep the last of two values, and ignore strings without a name", () => {
    const bytes = sealed(Buffer.from("a=1\0noequals\0=x\0a=2\0\0a=3\0"));
    assert.deepEqual(decode(bytes).variables, new Map([["a", "2"]]));
  });

  it("count as damaged when the last string has no end, even with a right CRC", () => {
    assert.throws(() => decode(sealed(Buffer.from("a=1\0b=2"))), { name: "Failure", message: /damaged/ });
  });
});

describe("two copies of the environment", () => {
  const flags: readonly (readonly [first: number, second: number, current: number, why: string])[] = [
    [1, 2, 1, "the one with the higher count is current"],
    [2, 1, 0, "the one with the higher count is current"],
    [255, 0, 1, "0 comes after 255"],
    [0, 255, 0, "0 comes after 255"],
    [254, 255, 1, "255 comes after 254"],
    [1, 0, 0, "1 is active and 0 obsolete, as NOR flash has it"],
    [0, 1, 1, "1 is active and 0 obsolete, as NOR flash has it"],
    [3, 3, 0, "the first is current when they count the same"],
  ];
  for (const [first, second, current, why] of flags) {
    it(`with flags ${first} and ${second}: ${why}`, () => {
      const found = decode(encode({ copy: "0" }, first), encode({ copy: "1" }, second));
      assert.equal(found.current, current);
      assert.equal(found.variables.get("copy"), String(current));
      assert.equal(found.flag, [first, second][current]);
    });
  }

  it("the good one is read when the other is damaged, blank or cut off, for all flags", () => {
    for (const bad of [damaged(encode({ x: "" }, 9)), Buffer.alloc(SIZE_BYTES, 0xff), Buffer.alloc(0)]) {
      assert.equal(decode(encode({ a: "1" }, 1), bad).current, 0);
      assert.equal(decode(bad, encode({ a: "1" }, 1)).current, 1);
    }
  });
});

describe("an environment without a good copy", () => {
  it("is refused with its place and a remedy", () => {
    assert.throws(() => decode(damaged(encode({ a: "1" }))), {
      name: "Failure",
      kind: "io",
      message: /environment of \/dev\/mmcblk0 at 0x0000 is damaged.*correct device, offset.*fw_env\.config/,
    });
    assert.throws(() => decode(damaged(encode({}, 1)), Buffer.alloc(SIZE_BYTES)), {
      message: /0x0000 and \/dev\/mmcblk0 at 0x1000 is damaged/,
    });
  });

  it("is called blank when it was never written", () => {
    for (const fill of [0, 0xff]) {
      const blank = Buffer.alloc(SIZE_BYTES, fill);
      assert.throws(() => decode(blank), { name: "Failure", kind: "io", message: /is blank; install/ });
      assert.throws(() => decode(blank, blank), { message: /0x0000 and .* at 0x1000 is blank/ });
    }
  });

  it("is refused with a Failure for any bytes, with a right or a wrong CRC", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: SIZE_BYTES }),
      fc.uint8Array({ maxLength: SIZE_BYTES }).map(sealed),
      fc
        .array(fc.constantFrom(0, 0x3d, 0x61, 0xff), { maxLength: 24 })
        .map((data) => sealed(Buffer.from(data))),
    );
    fc.assert(
      fc.property(fc.array(bytes, { minLength: 1, maxLength: 2 }), (copies) => {
        try {
          const { variables } = decode(...copies);
          assert.ok([...variables.keys()].every((name) => name !== "" && !name.includes("=")));
        } catch (error) {
          assert.ok(error instanceof Failure);
          assert.equal(error.kind, "io");
        }
      }),
      { numRuns: 30_000 },
    );
  });
});

describe("variables that can't be stored", () => {
  const refusals: readonly (readonly [what: string, name: string, value: string, message: RegExp])[] = [
    ["an empty name", "", "x", /"" can't name a U-Boot variable/],
    ["a name with =", "a=b", "x", /"a=b" can't name/],
    ["a name with NUL", "a\0b", "x", /can't name/],
    ["a value with NUL", "pin", "12\x0034", /the value for the U-Boot variable pin holds a NUL/],
  ];
  for (const [what, name, value, message] of refusals) {
    it(`are refused for ${what}`, () => {
      assert.throws(() => encode({ [name]: value }), { name: "Failure", kind: "config", message });
    });
  }

  it("are refused when they are one byte too long", () => {
    const room = SIZE_BYTES - 4 - "a=\0\0".length;
    assert.equal(decode(encode({ a: "x".repeat(room) })).variables.get("a")?.length, room);
    assert.throws(() => encode({ a: "x".repeat(room + 1) }), {
      name: "Failure",
      kind: "config",
      message: /need 65 bytes, the U-Boot environment has 64/,
    });
    assert.throws(() => encode({ a: "x".repeat(room) }, 1), { message: /need 65 bytes/ });
  });
});
