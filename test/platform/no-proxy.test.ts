/** NO_PROXY: what each entry means, as it does to curl, and which entries can never match. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseNoProxy } from "../../src/platform/no-proxy.ts";

const excepts = (text: string, url: string): boolean => parseNoProxy(text).excepts(new URL(url));

/** Entries, the URLs that they except, and some that they don't. Those of names and IPv4 were tried with curl 7.88. */
const CASES: readonly (readonly [text: string, excepted: readonly string[], others: readonly string[]])[] = [
  [
    "hub.test",
    ["https://hub.test", "wss://HUB.test", "https://a.b.hub.test:8443", "https://hub.test./"],
    ["https://myhub.test", "https://hub.test.org", "https://test"],
  ],
  [".hub.test", ["https://hub.test", "https://a.hub.test"], ["https://myhub.test"]],
  ["Hub.Test.", ["https://hub.test", "https://a.hub.test."], ["https://hub.test.org"]],
  [
    "a.test,b.test, c.test\td.test",
    ["a", "b", "c", "d"].map((name) => `http://${name}.test`),
    ["http://e.test"],
  ],
  ["10.0.0.1", ["http://10.0.0.1", "http://10.1"], ["http://10.0.0.11", "http://a.10.0.0.1x"]],
  ["10.0.0.0/8", ["https://10.10.20.1/fw"], ["https://11.0.0.1", "https://10.test", "http://[::a00:1]"]],
  ["192.168.7.130/25", ["http://192.168.7.255"], ["http://192.168.7.127"]],
  ["10.0.0.1/32", ["http://10.0.0.1"], ["http://10.0.0.2"]],
  ["2001:db8::/32", ["https://[2001:db8::5]/fw"], ["https://[2001:db9::5]", "https://2001.test"]],
  ["FD00::/7", ["https://[fc00::1]"], ["https://[fe00::1]"]],
  ["fd00:0:0::1", ["https://[fd00::1]/fw"], ["https://[fd00::2]"]],
  ["[fd00::1]", ["https://[fd00::1]"], ["https://[fd00::2]"]],
  [
    "hub.test:443",
    ["https://hub.test", "wss://a.hub.test:443"],
    ["https://hub.test:8443", "http://hub.test", "https://other.test"],
  ],
  ["10.0.0.1:80", ["http://10.0.0.1", "ws://10.0.0.1:80"], ["https://10.0.0.1"]],
  ["[fd00::1]:8443", ["https://[fd00::1]:8443"], ["https://[fd00::1]"]],
  ["*", ["https://hub.test", "http://[::1]", "http://10.0.0.1"], []],
  ["", [], ["https://hub.test"]],
];

describe("NO_PROXY", () => {
  for (const [text, excepted, others] of CASES) {
    it(`with "${text}" excepts what it does for curl`, () => {
      for (const url of excepted) assert.equal(excepts(text, url), true, url);
      for (const url of others) assert.equal(excepts(text, url), false, url);
      assert.deepEqual(parseNoProxy(text).warnings, []);
    });
  }

  const useless: readonly (readonly [entry: string, warning: RegExp, url: string])[] = [
    ["*.hub.test", /write hub\.test, which stands/, "https://a.hub.test"],
    ["hub.*", /write a host name/, "https://hub.test"],
    ["https://hub.test", /without http:\/\/$/, "https://hub.test"],
    ["a.test;hub.test", /with commas/, "https://hub.test"],
    ["..hub.test", /write a host name/, "https://a.hub.test"],
    ["bücher.test", /write a host name/, "https://bücher.test"],
    ["10.0.0.0/33", /at most 32 bits/, "http://10.0.0.0"],
    ["fd00::/129", /at most 128 bits/, "http://[fd00::]"],
    ["0.0.0.0/0", /\* alone/, "http://10.0.0.1"],
    ["10.0", /four numbers/, "http://10.0"],
    ["10.", /four numbers/, "http://10.0.0.1"],
    ["fe80::1%eth0", /zone/, "http://[fe80::1]"],
  ];
  for (const [entry, warning, url] of useless) {
    it(`warns about "${entry}", which can never match`, () => {
      const { warnings } = parseNoProxy(`other.test,${entry}`);
      assert.equal(warnings.length, 1);
      assert.match(String(warnings[0]), warning);
      assert.ok(warnings[0]?.startsWith(`NO_PROXY: "${entry}" matches no host; `));
      assert.equal(excepts(entry, url), false);
    });
  }

  it("has a * that counts only when it stands alone, as for curl", () => {
    assert.match(parseNoProxy("other.test,*").warnings.join(), /"\*" matches no host; \* counts only/);
    assert.equal(excepts("other.test,*", "https://hub.test"), false);
  });
});
