/**
 * HTTP redirects of a connection attempt: the link follows two, never out of TLS, and signed headers stay at the
 * server that they were made for.
 */
import assert from "node:assert/strict";
import { createSecureContext } from "node:tls";
import { afterEach, before, beforeEach, describe, it } from "node:test";
import type { HandshakeRequest } from "../../src/hub/handshake.ts";
import { chooseProxy } from "../../src/platform/proxy.ts";
import { createAuthority, type Authority } from "../hub/certificates.ts";
import { startHttpProxy } from "../platform/http-proxy.ts";
import { createBench, refuse, type Bench, type TinyServer } from "./bench.ts";

/** A certificate with its key, PEM. */
type Pair = Awaited<ReturnType<Authority["server"]>>;

describe("a redirect of the hub", () => {
  let authority: Authority;
  let server: Pair;
  let bench: Bench;
  before(async () => {
    authority = await createAuthority("hub CA");
    server = await authority.server(["localhost"]);
  });
  beforeEach(() => {
    bench = createBench();
  });
  afterEach(async () => bench.end());

  const trusting = (): Partial<HandshakeRequest> => ({
    tls: { kind: "direct", secureContext: createSecureContext({ ca: authority.cert }) },
  });
  const signed = { "x-nh-key": "nhp_1" };
  const redirecting = async (location: () => string, tls = false, status = 302): Promise<TinyServer> =>
    bench.serve({
      ...(tls && { tls: server }),
      onUpgrade: (_request, socket) => refuse(socket, status, { location: location() }),
    });
  const failure = async (
    url: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<string | undefined> => {
    const link = bench.link(url, { http: { ...trusting(), headers } });
    link.start();
    await bench.disconnected(link);
    return link.status.lastError;
  };

  it("is followed to the bytes of a location that is not escaped", async () => {
    const server = await bench.serve({
      onUpgrade: (request, socket) =>
        request.url === "/" && refuse(socket, 302, { location: "/größe?vsn=2.0.0" }), // written as UTF-8
    });
    const link = bench.link(server.url, { http: trusting() });
    link.start();
    await bench.connected(link);
    assert.equal(server.requests[1]?.url, "/gr%C3%B6%C3%9Fe?vsn=2.0.0");
  });

  for (const status of [301, 302, 303, 307, 308]) {
    it(`is followed on the same server, with the same headers (${status})`, async () => {
      const server = await bench.serve({
        onUpgrade: (request, socket) =>
          request.url === "/" && refuse(socket, status, { location: `${server.url}elsewhere?vsn=2.0.0` }),
      });
      const link = bench.link(server.url, { http: { ...trusting(), headers: signed } });
      link.start();
      await bench.connected(link);
      const request = server.requests[1];
      assert.equal(request?.url, "/elsewhere?vsn=2.0.0");
      assert.equal(request.headers["x-nh-key"], "nhp_1");
      assert.equal(link.signed.length, 1);
    });
  }

  it("is followed to another server without signed headers, as with a client certificate", async () => {
    const last = await bench.serve({ tls: server });
    const first = await redirecting(() => last.url, true);
    const link = bench.link(first.url, { http: trusting() });
    link.start();
    await bench.connected(link);
    assert.equal(last.peers.length, 1);
  });

  it("does not bring signed headers to another port, host or scheme", async () => {
    const other = await bench.serve({ tls: server });
    const plain = await bench.serve();
    const name = new URL(other.url).host;
    for (const [tls, location] of [
      [true, other.url],
      [true, other.url.replace("localhost", "127.0.0.1")],
      [true, other.url.replace("wss://", "https://user:password@")],
      [true, `//${name}/`],
      [false, plain.url],
      [false, plain.url.replace("127.0.0.1", "localhost")],
      [false, other.url],
    ] as const) {
      const first = await redirecting(() => location, tls);
      const reported = (await failure(first.url, signed)) ?? "";
      const { origin } = new URL(location.replace("https:", "wss:"), first.url);
      assert.equal(
        reported,
        `redirected to another server, ${origin}, which must not get this board's signed headers; if it is the hub, set hub.url to it`,
      );
    }
    assert.equal(other.requests.length + plain.requests.length, 0);
  });

  it("brings signed headers from port 80 to TLS on port 443 of the same host, and no other", async () => {
    const last = await bench.serve({ tls: server });
    const locations = ["https://localhost/a", "https://other.test/a", "https://localhost:4443/a"];
    const first = await bench.serve({
      onUpgrade: (_request, socket) => refuse(socket, 301, { location: locations[0] ?? "" }),
    });
    const defaultPorts = new Map([
      [80, first.port],
      [443, last.port],
    ]);
    const proxy = await startHttpProxy({ ports: defaultPorts });
    try {
      const http = { ...trusting(), headers: signed, proxyFor: chooseProxy(proxy.url, {}) };
      const link = bench.link("ws://localhost/", { http });
      link.start();
      await bench.connected(link);
      assert.equal(last.requests[0]?.headers["x-nh-key"], "nhp_1");
      for (const refused of locations.slice(1)) {
        locations[0] = refused;
        const link = bench.link("ws://localhost/", { http });
        link.start();
        await bench.disconnected(link);
        assert.match(link.status.lastError ?? "", /^redirected to another server/);
      }
      assert.equal(last.requests.length, 1);
    } finally {
      await proxy.stop();
    }
  });

  it("does not choose the user and password that are sent", async () => {
    const server = await bench.serve({
      onUpgrade: (request, socket) =>
        request.url === "/" &&
        refuse(socket, 302, { location: `${server.url.replace("//", "//user:password@")}next` }),
    });
    const link = bench.link(server.url, { http: { headers: signed } });
    link.start();
    await bench.connected(link);
    assert.equal(server.requests[1]?.url, "/next");
    assert.equal(server.requests[1].headers.authorization, undefined);
    assert.doesNotMatch(bench.lines.join(), /password/);
  });

  it("is followed twice, also from plain HTTP to TLS and to https:// for wss://", async () => {
    const last = await bench.serve({ tls: server });
    const second = await redirecting(() => last.url.replace("wss:", "https:"), true);
    const first = await redirecting(() => second.url.replace("wss:", "https:"));
    const link = bench.link(first.url, { http: trusting() });
    link.start();
    await bench.connected(link);
    assert.equal(last.peers.length, 1);
  });

  it("may be a bare path, and its fragment is ignored", async () => {
    const server = await bench.serve({
      onUpgrade: (request, socket) =>
        request.url === "/" && refuse(socket, 302, { location: "/socket/websocket#top" }),
    });
    const link = bench.link(server.url);
    link.start();
    await bench.connected(link);
    assert.equal(server.requests[1]?.url, "/socket/websocket");
  });

  it("is not followed a third time, so that a circle ends", async () => {
    const circle = await redirecting(() => circle.url);
    assert.equal(await failure(circle.url), "more than 2 redirects; check hub.url");
    assert.equal(circle.requests.length, 3);
  });

  it("is never followed out of TLS", async () => {
    const plain = await bench.serve();
    for (const scheme of ["ws:", "http:"]) {
      const first = await redirecting(() => plain.url.replace("ws:", scheme), true);
      assert.equal(
        await failure(first.url),
        "refused with 302: a redirect that leads nowhere, or out of TLS; check hub.url",
      );
    }
    assert.equal(plain.requests.length, 0);
  });

  it("is not followed to a location that is not an http(s) or ws(s) URL", async () => {
    for (const location of ["http://", "ftp://127.0.0.1/", "javascript:1"]) {
      const first = await redirecting(() => location);
      assert.match((await failure(first.url)) ?? "", /a redirect that leads nowhere/);
    }
  });

  it("without a location is refused", async () => {
    const first = await bench.serve({ onUpgrade: (_request, socket) => refuse(socket, 302) });
    assert.match((await failure(first.url)) ?? "", /^refused with 302/);
  });

  it("is forgotten: the next attempt begins at the first address", async () => {
    const gone = await bench.serve();
    await gone.stop();
    const first = await redirecting(() => gone.url);
    const link = bench.link(first.url);
    link.start();
    await bench.disconnected(link);
    assert.match(link.status.lastError ?? "", /nothing listens there/);
    await bench.advance(1000);
    await bench.disconnected(link, 2);
    assert.equal(first.requests.length, 2);
  });
});
