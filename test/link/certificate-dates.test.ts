/** What a board with a guessed clock reads from a hub's certificate, and from whose it reads nothing. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createSecureContext, createServer, type TlsOptions } from "node:tls";
import { afterEach, before, describe, it } from "node:test";
import { readCertificateDates } from "../../src/hub/certificate-dates.ts";
import type { HandshakeRequest } from "../../src/hub/handshake.ts";
import { chooseProxy } from "../../src/platform/proxy.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { type Authority, createAuthority, type Issued } from "../identity/authority.ts";
import { startHttpProxy } from "../platform/http-proxy.ts";

const DAY_MS = 86_400_000;
/** Certificates have whole seconds. */
const NOW_MS = Math.floor(Date.now() / 1000) * 1000;
const DATES = { notBeforeMs: NOW_MS + 10 * DAY_MS, notAfterMs: NOW_MS + 20 * DAY_MS };
const LONG = { notBefore: new Date(0), notAfter: new Date("2049-12-31T23:59:59Z") };
const OWN = {
  subject: "CN=localhost",
  dnsName: "localhost",
  notBefore: new Date(DATES.notBeforeMs),
  notAfter: new Date(DATES.notAfterMs),
};

describe("the dates of a certificate that is not yet valid", () => {
  let root: Authority;
  const stops: (() => void)[] = [];
  before(async () => {
    root = await createAuthority("CN=Hub CA", LONG);
  });
  afterEach(() => {
    for (const stop of stops.splice(0)) stop();
  });

  const show = async (own: Issued, options: TlsOptions & { chain?: string } = {}): Promise<number> => {
    const { chain = "", ...rest } = options;
    const key = own.key.export({ format: "pem", type: "pkcs8" });
    const server = createServer({ cert: own.pem + chain, key, ...rest });
    server.on("tlsClientError", () => undefined); // the client leaves once it has seen the certificate
    server.on("secureConnection", (socket) => socket.on("error", () => undefined));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    stops.push(() => server.close());
    return (server.address() as AddressInfo).port;
  };
  const read = async (port: number, request: Partial<HandshakeRequest> = {}, signal?: AbortSignal) => {
    const direct = { kind: "direct", secureContext: createSecureContext(), ca: [root.pem] } as const;
    return readCertificateDates(
      {
        url: new URL(`wss://localhost:${port}/`),
        headers: {},
        tls: direct,
        compress: false,
        timeoutMs: 60_000,
        ...request,
      },
      systemClock,
      signal ?? new AbortController().signal,
    );
  };

  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    it(`are read, also by a board whose own key can't be used for it (${maxVersion})`, async () => {
      const strict = { maxVersion, requestCert: true, rejectUnauthorized: true, ca: root.pem };
      const port = await show(await root.issue(OWN), strict);
      assert.deepEqual(await read(port), DATES);
      const key = { kind: "pem", pem: "" } as const;
      assert.deepEqual(await read(port, { tls: { kind: "helper", ca: [root.pem], cert: "", key } }), DATES);
    });
  }

  it("are read through a chain", async () => {
    const middle = await root.subordinate("CN=Middle CA", LONG);
    const port = await show(await middle.issue(OWN), { chain: middle.pem });
    assert.deepEqual(await read(port), DATES);
  });

  it("are those between which the whole chain is valid", async () => {
    const [notBefore, notAfter] = [12, 18].map((days) => new Date(NOW_MS + days * DAY_MS));
    assert(notBefore && notAfter);
    const middle = await root.subordinate("CN=Middle CA", { notBefore, notAfter });
    const port = await show(await middle.issue(OWN), { chain: middle.pem });
    assert.deepEqual(await read(port), {
      notBeforeMs: notBefore.getTime(),
      notAfterMs: notAfter.getTime(),
    });
  });

  it("are read through a proxy", async () => {
    const proxy = await startHttpProxy();
    try {
      const port = await show(await root.issue(OWN));
      const proxyFor = chooseProxy(proxy.url, {});
      assert.deepEqual(await read(port, { proxyFor }), DATES);
      assert.equal(proxy.asked.length, 1);
    } finally {
      await proxy.stop();
    }
  });

  it("are read from a self-signed certificate only if it is the trusted one", async () => {
    const self = await root.issue(OWN);
    const tls = (ca: string): HandshakeRequest["tls"] => ({
      kind: "direct",
      secureContext: createSecureContext(),
      ca: [ca],
    });
    const port = await show(self);
    assert.deepEqual(await read(port, { tls: tls(self.pem) }), DATES);
    assert.equal(await read(port, { tls: tls((await root.issue(OWN)).pem) }), undefined);
  });

  it("of a stranger are not read, also when the stranger has the CA's name", async () => {
    for (const name of ["CN=Another CA", "CN=Hub CA"]) {
      const stranger = await createAuthority(name, LONG);
      assert.equal(await read(await show(await stranger.issue(OWN), { chain: stranger.pem })), undefined);
    }
  });

  it("signed by a certificate that is none of a CA are not read", async () => {
    const board = await root.issue({ subject: "CN=board-1", ...LONG });
    const forger = await createAuthority("CN=board-1", { ...LONG, keys: board.keys });
    const port = await show(await forger.issue(OWN), { chain: board.pem });
    assert.equal(await read(port), undefined);
  });

  it("for another name are not read", async () => {
    const other = await root.issue({ ...OWN, subject: "CN=other.test", dnsName: "other.test" });
    const port = await show(other);
    assert.equal(await read(port), undefined);
    const named = { kind: "direct", secureContext: createSecureContext(), ca: [root.pem] } as const;
    assert.deepEqual(await read(port, { tls: { ...named, servername: "other.test" } }), DATES);
  });

  it("are not waited for when the agent stops, or nothing answers", async () => {
    const stopped = AbortSignal.abort(new Error("the agent stops"));
    assert.equal(await read(await show(await root.issue(OWN)), {}, stopped), undefined);
    const port = await show(await root.issue(OWN));
    for (const stop of stops.splice(0)) stop();
    assert.equal(await read(port), undefined);
  });
});
