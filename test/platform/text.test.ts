/** Text from outside the agent: UTF-8, lines and URLs. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  decodeUtf8,
  isHttpUrl,
  LineSplitter,
  oneLine,
  printable,
  printableJson,
  shortened,
} from "../../src/platform/text.ts";

describe("text from outside", () => {
  it("is decoded when it is UTF-8", () => {
    for (const text of ["", "plain", "Grüße", "日本", "🙂", "a\0b"]) {
      assert.equal(decodeUtf8(Buffer.from(text)), text);
    }
  });

  it("is refused when it is not", () => {
    // a lone continuation byte, an overlong slash, a surrogate, a number beyond Unicode, a cut sequence
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

describe("a stream of lines", () => {
  const split = (chunks: readonly Uint8Array[], maxBytes = 8): { lines: string[]; tooLong: number } => {
    const result = { lines: [] as string[], tooLong: 0 };
    const splitter = new LineSplitter(
      maxBytes,
      (line) => result.lines.push(line),
      () => (result.tooLong += 1),
    );
    for (const chunk of chunks) splitter.push(chunk);
    return result;
  };

  it("is cut at its line breaks, wherever its chunks begin and end", () => {
    const bytes = Buffer.from("one\n\n  \nzwölf\nrest");
    fc.assert(
      fc.property(fc.nat(bytes.length), fc.nat(bytes.length), (first, second) => {
        const [from, to] = [Math.min(first, second), Math.max(first, second)];
        const chunks = [bytes.subarray(0, from), bytes.subarray(from, to), bytes.subarray(to)];
        assert.deepEqual(split(chunks), { lines: ["one", "zwölf"], tooLong: 0 });
      }),
    );
  });

  it("ends with a line that is too long, complete or not", () => {
    assert.deepEqual(split([Buffer.from("12345678\n123456789\nlater\n")]), {
      lines: ["12345678"],
      tooLong: 1,
    });
    const endless = Array.from({ length: 100 }, () => Buffer.from("xxxx"));
    assert.deepEqual(split([...endless, Buffer.from("\nlater\n")]), { lines: [], tooLong: 1 });
  });
});

/** One of each kind: C0, DEL, C1, direction, line separator, without width. */
const HOSTILE = ["\u001b", "\n", "\u007f", "\u009b", "\u202e", "\u2066", "\u2028", "\u200b", "\ufeff"];

describe("a text of others", () => {
  const any = fc.string({
    unit: fc.oneof(fc.string({ unit: "binary", minLength: 1, maxLength: 1 }), fc.constantFrom(...HOSTILE)),
  });
  /** Cc and Cf up to U+FFFF, spelled out another time. */
  const unseen = /[\0-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u061c\ufeff]/u;

  it("is printable in one line, with each character visible", () => {
    fc.assert(fc.property(any, (text) => assert.doesNotMatch(printable(text), unseen)));
    const plain = 'Grüße, 日本 🙂 "a\\b"';
    assert.equal(printable(plain), plain);
    assert.equal(printable("\n\r\t\0\u0085\u2066"), String.raw`\n\r\t\x00\x85\u2066`);
  });

  it("is the same text after it was printed as JSON", () => {
    fc.assert(
      fc.property(any, (text) => {
        const json = printableJson({ [text]: [text] }, 2);
        assert.doesNotMatch(json.replaceAll("\n", ""), unseen);
        assert.deepEqual(JSON.parse(json), { [text]: [text] });
      }),
    );
  });

  it("is cut to its longest length", () => {
    assert.equal(shortened("abcd", 4), "abcd");
    assert.equal(shortened("abcde", 4), "abc…");
  });
});

describe("a text", () => {
  it("with several lines is joined to one", () => {
    assert.equal(oneLine(" one\n  two  \r\n\nthree\n"), "one; two; three");
  });

  it("is accepted as a download's URL only with http or https", () => {
    for (const text of ["http://a", "https://a/b.fw", "HTTPS://A"]) assert.equal(isHttpUrl(text), true, text);
    for (const text of ["", "a.fw", "ftp://a", "https:a", "/http://a"])
      assert.equal(isHttpUrl(text), false, text);
  });
});
