/** HTTP redirects of a connection attempt: the link follows two, and never out of TLS. */
import assert from "node:assert/strict";
import { createSecureContext } from "node:tls";
import { afterEach, before, beforeEach, describe, it } from "node:test";
import type { HandshakeRequest } from "../../src/hub/handshake.ts";
import { createAuthority, type Authority } from "../hub/certificates.ts";
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
    headers: { "x-nh-key": "nhp_1" },
  });
  const redirecting = async (location: () => string, tls = false, status = 302): Promise<TinyServer> =>
    bench.serve({
      ...(tls && { tls: server }),
      onUpgrade: (_request, socket) => refuse(socket, status, { location: location() }),
    });
  const failure = async (url: string): Promise<string | undefined> => {
    const link = bench.link(url, { http: trusting() });
    link.start();
    await bench.disconnected(link);
    return link.status.lastError;
  };

  for (const status of [301, 302, 303, 307, 308]) {
    it(`is followed, with the same headers (${status})`, async () => {
      const last = await bench.serve();
      const first = await redirecting(() => `${last.url}elsewhere?vsn=2.0.0`, false, status);
      const link = bench.link(first.url, { http: trusting() });
      link.start();
      await bench.connected(link);
      const [request] = last.requests;
      assert.equal(request?.url, "/elsewhere?vsn=2.0.0");
      assert.equal(request.headers["x-nh-key"], "nhp_1");
      assert.equal(link.signed.length, 1);
    });
  }

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
