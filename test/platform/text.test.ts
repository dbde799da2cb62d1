import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decodeUtf8 } from "../../src/platform/text.ts";

describe("text from outside", () => {
  it("is decoded when it is UTF-8", () => {
    for (const text of ["", "plain", "Grüße", "日本", "🙂", "a\0b"]) {
      assert.equal(decodeUtf8(Buffer.from(text)), text);
    }
  });

  it("is refused when it is not", () => {
    // a lone continuation, an overlong slash, a surrogate, beyond Unicode, a cut sequence
    for (const bytes of [
      [0x80],
      [0xc0, 0xaf],
      [0xed, 0xa0, 0x80],
      [0xf4, 0x90, 0x80, 0x80],
      [0x61, 0xe2, 0x82],
    ]) {
      assert.throws(() => decodeUtf8(Uint8Array.from(bytes)), JSON.stringify(bytes));
    }
  });
});
