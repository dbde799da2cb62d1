/** Secrets that must not be in the log. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { redact } from "../../src/platform/log.ts";

describe("a secret in a message", () => {
  const cases: readonly (readonly [text: string, safe: string])[] = [
    ["nothing to hide: a/b?c=d", "nothing to hide: a/b?c=d"],
    [
      "GET https://s3.example.com/fw/1.fw?X-Signature=SECRET failed",
      "GET https://s3.example.com/fw/1.fw?… failed",
    ],
    ["https://h?SECRET", "https://h?…"],
    ["https://h/p#SECRET", "https://h/p?…"],
    ["HTTPS://h/p?SECRET", "HTTPS://h/p?…"],
    ["wss://h/socket/websocket?vsn=2.0.0", "wss://h/socket/websocket?…"],
    ["xhttps://h/p?SECRET", "xhttps://h/p?…"],
    ["ftp://user:SECRET@h/p", "ftp://…@h/p"],
    ["http://user:SECRET@proxy:3128", "http://…@proxy:3128"],
    ["http://SECRET@proxy", "http://…@proxy"],
    ["http://user:p@SECRET@proxy/x", "http://…@proxy/x"],
    ["http://h/a@b", "http://h/a@b"],
    ["http://u:SECRET@h/p?SECRET and https://h/?SECRET", "http://…@h/p?… and https://h/?…"],
    ['"https://h/p?SECRET"', '"https://h/p?…"'],
    ["two: https://h/?a=https://i/?SECRET.", "two: https://h/?…"],
    ["pkcs11:token=t;object=o?pin-value=SECRET&x=y", "pkcs11:token=t;object=o?pin-value=…&x=y"],
    ["https://h/it's?SECRET'SECRET", "https://h/it's?…"],
    ["PIN-VALUE=SECRET", "PIN-VALUE=…"],
    ["https://h/p?SECRET\nnext line", "https://h/p?…\nnext line"],
  ];
  for (const [text, safe] of cases) {
    it(`${JSON.stringify(text)} becomes ${JSON.stringify(safe)}`, () => assert.equal(redact(text), safe));
  }

  it("is removed each time, at any place", () => {
    const url = fc.webUrl({ withQueryParameters: false }).map((base) => `${base}?sig=SECRET`);
    const words = fc.array(
      fc.oneof(
        fc.string().filter((text) => !text.includes("SECRET")),
        url,
      ),
    );
    fc.assert(
      fc.property(words, (parts) => {
        assert(!redact(parts.join(" ")).includes("SECRET"));
      }),
      { numRuns: 3000 },
    );
  });

  it("is removed quickly from a message of 1 MiB that was made to keep the board busy", () => {
    // With a backtracking pattern, each of these takes hours.
    for (const piece of ["a.", "http://", "://", "://a@", "://a?", "pin-value=", "user:"]) {
      redact(piece.repeat(2 ** 20 / piece.length));
    }
  });
});
