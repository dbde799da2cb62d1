/** Which proxy a connection uses: hub.proxy, the environment's variables, and their exceptions. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { chooseProxy, proxyWarnings } from "../../src/platform/proxy.ts";

type Variables = Readonly<Record<string, string>>;

const chosen = (url: string, env: Variables, setting = ""): string | undefined =>
  chooseProxy(setting, env)(new URL(url))?.name;

describe("the proxy on the way to a host", () => {
  const env = { HTTPS_PROXY: "http://secure:3128", HTTP_PROXY: "plain" };

  it("is HTTPS_PROXY's for https and wss, HTTP_PROXY's for http and ws", () => {
    assert.equal(chosen("wss://hub.test/socket", env), "secure:3128");
    assert.equal(chosen("https://hub.test", env), "secure:3128");
    assert.equal(chosen("ws://hub.test", env), "plain:80");
    assert.equal(chosen("http://hub.test", env), "plain:80");
    assert.equal(chosen("wss://hub.test", { ...env, https_proxy: "http://small:1" }), "small:1");
    assert.equal(chosen("wss://hub.test", {}), undefined);
    assert.equal(chosen("wss://hub.test", { HTTPS_PROXY: "" }), undefined);
  });

  it("is hub.proxy for all of them when that is set", () => {
    for (const url of ["wss://hub.test", "http://hub.test", "ws://127.0.0.1:4000"])
      assert.equal(chosen(url, env, "http://own:8080"), "own:8080");
  });

  it("of the environment is not used to this machine itself", () => {
    for (const host of ["localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
      assert.equal(chosen(`wss://${host}:4000`, env), undefined, host);
  });

  it("is not used to hosts in NO_PROXY, nor is hub.proxy", () => {
    const NO_PROXY = "hub.test, 10.0.0.0/8";
    for (const host of ["hub.test", "10.1.2.3"]) {
      assert.equal(chosen(`wss://${host}`, { ...env, NO_PROXY }), undefined, host);
      assert.equal(chosen(`wss://${host}`, { NO_PROXY }, "http://own:8080"), undefined, host);
    }
    assert.equal(chosen("wss://hub.test", { ...env, NO_PROXY: "other.test", no_proxy: "*" }), undefined);
    assert.equal(chosen("wss://hub.test", { ...env, NO_PROXY, no_proxy: "" }), undefined, "empty is not set");
  });

  it("is warned about where NO_PROXY can never match, and only if there is a proxy", () => {
    assert.deepEqual(proxyWarnings("", { ...env, NO_PROXY: "*.hub.test,other.test" }), [
      'NO_PROXY: "*.hub.test" matches no host; write hub.test, which stands for the names below it too',
    ]);
    assert.deepEqual(proxyWarnings("", { NO_PROXY: "*.hub.test" }), []);
  });

  it("gets user and password without their URL escapes", () => {
    const of = (text: string): unknown => chooseProxy(text, {})(new URL("wss://hub.test"))?.credentials;
    assert.deepEqual(of("http://me:p%40ss%3A@proxy"), { user: "me", password: "p@ss:" });
    assert.deepEqual(of("http://me:100%@proxy"), { user: "me", password: "100%" });
    assert.equal(of("http://proxy"), undefined);
  });

  it("is refused when it is malformed, and the message does not show it", () => {
    for (const text of [
      "socks5://me:secret@proxy",
      "https://me:secret@proxy",
      "http://",
      "me:secret@:x",
      "http://m%0Ae:secret@p",
    ]) {
      assert.throws(
        () => chosen("wss://hub.test", { HTTPS_PROXY: text }),
        (error: Error) => error.message.startsWith("HTTPS_PROXY: ") && !error.message.includes("secret"),
        text,
      );
    }
  });
});
