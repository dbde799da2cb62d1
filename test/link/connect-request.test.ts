/** The HTTP request of one connection attempt, made from the configuration and the identity. */
import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import {
  hubRequests,
  presentsCertificate,
  socketUrl,
  type HubAddress,
} from "../../src/hub/connect-request.ts";
import { checkConfig } from "../../src/config/check.ts";
import type { ConnectionCredentials, Identity } from "../../src/identity/identity.ts";
import { createAuthority, type Authority } from "../hub/certificates.ts";

const HUB: HubAddress = { url: "wss://hub.example.com", compress: true, serverName: "", proxy: "" };

/** An identity with the given credentials. */
function identityOf(
  credentials: (timeS: number) => ConnectionCredentials,
  path: ConnectionCredentials["path"] = "/socket/websocket",
): Identity {
  return {
    identifier: "board-1",
    describe: () => ({ identifier: "board-1", source: "test", warnings: [] }),
    connection: async (timeS) => Promise.resolve({ ...credentials(timeS), path }),
  };
}

const NONE = (): ConnectionCredentials => ({ path: "/socket/websocket", tls: { kind: "none" }, headers: {} });

describe("the request of an attempt", () => {
  let authority: Authority;
  before(async () => {
    authority = await createAuthority("hub CA");
  });

  it("goes to the path of the kind of authentication", async () => {
    const mutual = await hubRequests(HUB, identityOf(NONE), [])(0, "2.0.0");
    assert.equal(mutual.url.href, "wss://hub.example.com/socket/websocket?vsn=2.0.0");
    const secret = await hubRequests(HUB, identityOf(NONE, "/device-socket/websocket"), [])(0, "2.0.0");
    assert.equal(secret.url.href, "wss://hub.example.com/device-socket/websocket?vsn=2.0.0");
  });

  const urls: readonly (readonly [configured: string, url: string])[] = [
    ["devices.example.com", "wss://devices.example.com/socket/websocket?vsn=2.0.0"],
    ["https://devices.example.com:8443/", "wss://devices.example.com:8443/socket/websocket?vsn=2.0.0"],
    ["ws://localhost:4000", "ws://localhost:4000/socket/websocket?vsn=2.0.0"],
    ["wss://h/my/own/path", "wss://h/my/own/path?vsn=2.0.0"],
    ["wss://h/my/own/path?vsn=1.0.0&a=b", "wss://h/my/own/path?vsn=1.0.0&a=b"],
    ["wss://h?a=b", "wss://h/socket/websocket?a=b&vsn=2.0.0"],
    ["wss://[::1]:4001", "wss://[::1]:4001/socket/websocket?vsn=2.0.0"],
  ];
  for (const [configured, url] of urls) {
    it(`goes to ${url} when hub.url is ${configured}`, () => {
      const identity = { source: "shared-secret", shared_secret: { key: "nhp_1", secret_file: "/secret" } };
      const { config } = checkConfig({ hub: { url: configured }, identity }, {}, "test");
      assert.equal(socketUrl(config.hub.url, "/socket/websocket", "2.0.0").href, url);
    });
  }

  it("shows the hub a certificate only over TLS, and only if the board has one", () => {
    const withSecret = identityOf(NONE, "/device-socket/websocket");
    const certificate = {
      subject: "CN=board-1",
      notBefore: new Date(0),
      notAfter: new Date(1),
      ...{ issuer: "CN=CA", sha1: "00", sha256: "00" },
    };
    const withCertificate: Identity = {
      ...withSecret,
      describe: () => ({ identifier: "board-1", source: "file", warnings: [], certificate }),
    };
    assert.equal(presentsCertificate(HUB, withCertificate), true);
    assert.equal(presentsCertificate(HUB, withSecret), false);
    assert.equal(presentsCertificate({ url: "ws://localhost:4000" }, withCertificate), false);
  });

  it("is signed for the given time in whole seconds, and carries the identity's headers", async () => {
    const times: number[] = [];
    const identity = identityOf((timeS) => {
      times.push(timeS);
      return { ...NONE(), headers: { "x-nh-time": String(timeS) } };
    });
    const request = hubRequests(HUB, identity, []);
    assert.deepEqual((await request(1_700_000_000_999, "2.0.0")).headers, { "x-nh-time": "1700000000" });
    assert.deepEqual((await request(1_700_000_001_000, "2.0.0")).headers, { "x-nh-time": "1700000001" });
    assert.deepEqual(times, [1_700_000_000, 1_700_000_001], "each request has its own signature");
  });

  it("expects a certificate for hub.server_name, or for the host when that is not set", async () => {
    const named = { ...HUB, serverName: "hub.internal" };
    const request = await hubRequests(named, identityOf(NONE), [])(0, "2.0.0");
    assert.equal(request.tls?.servername, "hub.internal");
    const plain = await hubRequests(HUB, identityOf(NONE), [])(0, "2.0.0");
    assert(plain.tls !== undefined && !("servername" in plain.tls));
  });

  it("makes the TLS context once, and again when certificate or key has changed", async () => {
    const [first, second] = [await authority.device("board-1"), await authority.device("board-1")];
    let current = first;
    const identity = identityOf(() => ({
      ...NONE(),
      tls: { kind: "direct", cert: current.cert, key: current.key },
    }));
    const request = hubRequests(HUB, identity, [authority.cert]);
    const contextOf = async () => {
      const { tls } = await request(0, "2.0.0");
      return tls?.kind === "direct" ? tls.secureContext : undefined;
    };
    const context = await contextOf();
    assert(context !== undefined);
    assert.equal(await contextOf(), context);
    current = { ...first };
    assert.equal(await contextOf(), context, "the same certificate and key in another object");
    current = second;
    const renewed = await contextOf();
    assert.notEqual(renewed, context);
    assert.equal(await contextOf(), renewed);
  });

  it("has TLS settings for ws:// too, since it may be redirected, and compresses as configured", async () => {
    const bench = { ...HUB, url: "ws://127.0.0.1:4000", compress: false };
    const request = await hubRequests(bench, identityOf(NONE), [])(0, "2.0.0");
    assert.ok(request.tls?.kind === "direct" && request.tls.secureContext);
    assert.equal(request.compress, false);
    assert.equal((await hubRequests(HUB, identityOf(NONE), [])(0, "2.0.0")).compress, true);
    assert.equal(request.timeoutMs, 30_000);
  });
});
