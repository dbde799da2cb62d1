/** firmware.url_hosts: which entries there are, and which URLs each of them allows. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isHostPattern, mayFetchFrom } from "../../src/platform/url-hosts.ts";

/** Entries, URLs that they allow, and some that they don't. */
const CASES: readonly (readonly [entry: string, allowed: readonly string[], others: readonly string[]])[] = [
  [
    "files.test",
    [
      "https://files.test/fw",
      "http://FILES.test:8080",
      "https://files.test./fw",
      "https://files.test@files.test/",
    ],
    [
      "https://a.files.test",
      "https://files.test.evil.test",
      "https://files.test@evil.test",
      "https://myfiles.test",
    ],
  ],
  [
    "*.files.test",
    ["https://a.files.test", "https://a.b.files.test"],
    ["https://files.test", "https://myfiles.test"],
  ],
  [".files.test", ["https://a.files.test"], ["https://files.test"]],
  ["files.test:443", ["https://files.test/fw"], ["http://files.test", "https://files.test:8443"]],
  ["*.files.test:8443", ["https://a.files.test:8443"], ["https://a.files.test"]],
  ["10.0.0.1", ["http://10.0.0.1:80", "http://10.1/fw", "http://0x0a000001/"], ["http://10.0.0.2"]],
  ["[fd00:0::1]", ["http://[fd00::1]:99"], ["http://[fd00::2]"]],
  ["[fd00::1]:80", ["http://[fd00::1]"], ["https://[fd00::1]"]],
  ["bücher.test", ["https://xn--bcher-kva.test"], ["https://bucher.test"]],
];

describe("firmware.url_hosts", () => {
  for (const [entry, allowed, others] of CASES) {
    it(`with "${entry}" allows this host, and no others`, () => {
      assert.ok(isHostPattern(entry));
      const mayFetch = mayFetchFrom(["other.test", entry]);
      for (const url of allowed) assert.equal(mayFetch(new URL(url)), true, url);
      for (const url of others) assert.equal(mayFetch(new URL(url)), false, url);
    });
  }

  it("allows each host when it is empty", () => {
    assert.equal(mayFetchFrom([])(new URL("http://192.168.0.1/")), true);
  });

  it("has no entries that are not hosts", () => {
    for (const entry of [
      "",
      "*",
      "*.",
      ".",
      "https://files.test",
      "files.test/fw",
      "a b",
      "me@files.test",
      "a:99999x",
    ])
      assert.equal(isHostPattern(entry), false, entry);
    for (const entry of ["fd00::1", "[fd00::1", "10.0.0.0/8", "files.*", "files.test:", "%2e.test"])
      assert.equal(isHostPattern(entry), false, entry);
  });
});
