/** Which times of the hub are believed: those of a hub whose certificate was verified, if they can be right. */
import assert from "node:assert/strict";
import { createSecureContext } from "node:tls";
import { afterEach, before, beforeEach, describe, it } from "node:test";
import type { CertificateDates } from "../../src/board/clock-guard.ts";
import type { HandshakeRequest } from "../../src/hub/handshake.ts";
import { createAuthority, type Authority } from "../hub/certificates.ts";
import { missing } from "../identity/openssl.ts";
import { type Bench, createBench, refuse, type TestLink } from "./bench.ts";

type Pair = Awaited<ReturnType<Authority["server"]>>;

const DAY_MS = 86_400_000;
const NOW_MS = Math.floor(Date.now() / 1000) * 1000;
const ENDS_MS = NOW_MS + 10 * DAY_MS;
const HUB_MS = NOW_MS + DAY_MS;

/** A clock guard that notes what it is asked. */
class Guard {
  readonly doubt = undefined;
  isGuess = false;
  believes = true;
  readonly noted: [hubMs: number, certificateEndsMs: number | undefined][] = [];
  readonly fitted: CertificateDates[] = [];

  noteHubTime(hubMs: number, certificateEndsMs?: number): boolean {
    this.noted.push([hubMs, certificateEndsMs]);
    return this.believes;
  }

  async fit(dates: CertificateDates): Promise<boolean> {
    this.fitted.push(dates);
    return Promise.resolve(true);
  }
}

describe("the time of a hub", () => {
  let authority: Authority;
  let server: Pair;
  let device: Pair;
  let bench: Bench;
  let guard: Guard;
  before(async () => {
    authority = await createAuthority("hub CA");
    const valid = { notBefore: new Date(NOW_MS - DAY_MS), notAfter: new Date(ENDS_MS) };
    server = await authority.server(["localhost"], valid);
    device = await authority.device("board-1");
  });
  beforeEach(() => {
    bench = createBench();
    guard = new Guard();
  });
  afterEach(async () => bench.end());

  const direct = (): HandshakeRequest["tls"] => ({
    kind: "direct",
    secureContext: createSecureContext({ ca: authority.cert }),
    ca: [authority.cert],
  });
  const helper = (): HandshakeRequest["tls"] => ({
    kind: "helper",
    ca: [authority.cert],
    cert: device.cert,
    key: { kind: "pem", pem: device.key },
  });
  const guarded = (url: string, tls?: HandshakeRequest["tls"]): TestLink =>
    bench.link(url, { http: { tls }, clockGuard: guard });
  const connected = async (link: TestLink): Promise<TestLink> => {
    link.start();
    await bench.connected(link);
    return link;
  };
  const date = new Date(HUB_MS).toUTCString();

  it("is judged with the end of the certificate that was verified", async () => {
    const { url } = await bench.serve({ tls: server, date });
    const link = await connected(guarded(url, direct()));
    assert.deepEqual(guard.noted, [[HUB_MS, ENDS_MS]]);
    assert.equal(link.hubTimeMs(), HUB_MS);
  });

  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    it(`is judged so also when a session is resumed, in which no certificate is shown (${maxVersion})`, async () => {
      const { url } = await bench.serve({ tls: { ...server, maxVersion }, date });
      const link = await connected(guarded(url, direct()));
      for (const times of [2, 3]) {
        assert.equal(await link.confirm(1000), true); // a new session may come until then
        link.reconnect("test");
        await bench.connected(link, times);
      }
      assert.deepEqual(
        guard.noted,
        [1, 2, 3].map(() => [HUB_MS, ENDS_MS]),
      );
    });
  }

  it("is the board's for all but signing when it can't be right", async () => {
    guard.believes = false;
    const { url } = await bench.serve({ tls: server, date });
    const link = await connected(guarded(url, direct()));
    assert.equal(link.hubTimeMs(), bench.clock.now());
    link.reconnect("test");
    await bench.connected(link, 2);
    assert.equal(link.signed.at(-1), HUB_MS, "the hub judges signatures by its clock, right or wrong");
  });

  it("that can't be read is judged, and not used", async () => {
    const { url } = await bench.serve({ tls: server, date: "yesterday" });
    const link = await connected(guarded(url, direct()));
    assert.deepEqual(guard.noted, [[NaN, ENDS_MS]]);
    assert.equal(link.hubTimeMs(), bench.clock.now());
  });

  it("is not believed without TLS", async () => {
    const { url } = await bench.serve({ date });
    const link = await connected(guarded(url));
    assert.deepEqual(guard.noted, []);
    assert.equal(link.hubTimeMs(), bench.clock.now());
  });

  it("is not believed when it comes with a refusal or a redirect", async () => {
    for (const status of [302, 401, 503]) {
      const { url } = await bench.serve({
        tls: server,
        onUpgrade: (_request, socket) => refuse(socket, status, { date, location: "http://" }),
      });
      const link = guarded(url, direct());
      link.start();
      await bench.disconnected(link);
      assert.equal(link.hubTimeMs(), bench.clock.now());
    }
    assert.deepEqual(guard.noted, []);
  });

  describe("with TLS by the helper", { skip: missing("stunnel") }, () => {
    for (const [isGuess, endsMs] of [
      [true, ENDS_MS],
      [false, undefined],
    ] as const) {
      it(`is judged ${isGuess ? "with" : "without"} the certificate's end while the clock is ${isGuess ? "" : "not "}a guess`, async () => {
        guard.isGuess = isGuess;
        const { url } = await bench.serve({ tls: server, date });
        await connected(guarded(url, helper()));
        assert.deepEqual(guard.noted, [[HUB_MS, endsMs]]);
      });
    }
  });

  describe("whose certificate has expired", () => {
    const expired = { notBeforeMs: NOW_MS - 20 * DAY_MS, notAfterMs: NOW_MS - 10 * DAY_MS };
    const tried = async (tls: HandshakeRequest["tls"]): Promise<void> => {
      const [notBefore, notAfter] = [new Date(expired.notBeforeMs), new Date(expired.notAfterMs)];
      const { url } = await bench.serve({
        tls: await authority.server(["localhost"], { notBefore, notAfter }),
      });
      const link = guarded(url, tls);
      link.start();
      await bench.disconnected(link);
      assert.match(link.status.lastError ?? "", /CERT_HAS_EXPIRED/);
    };

    it("is not asked for while the clock is no guess", async () => {
      await tried(direct());
      assert.deepEqual(guard.fitted, []);
    });

    it("leaves the certificate's dates to correct a guess, once in an attempt", async () => {
      guard.isGuess = true;
      await tried(direct());
      assert.deepEqual(guard.fitted, [expired]);
    });

    it("does so by the helper, too", { skip: missing("stunnel") }, async () => {
      guard.isGuess = true;
      await tried(helper());
      assert.deepEqual(guard.fitted, [expired]);
    });
  });
});
