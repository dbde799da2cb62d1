/** Who may connect to the stand-in hub, compared with the real server's answers to the same attempts. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, it } from "node:test";
import type { ClientOptions } from "ws";
import { fixture, fixturesMissing } from "../fixtures.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { createAuthority, type Authority } from "./certificates.ts";
import { connect } from "./client.ts";
import { signNh1 } from "./nh1.ts";
import { startHub, type Hub } from "./server.ts";

const PRODUCT = { key: "nhp_product", secret: "a product's secret", identifier: "dev-1" };
const OWN = { key: "a device's key", secret: "a device's secret", identifier: "dev-2" };

/** One attempt of the recording: its name, its URL, and the real server's answer. */
interface Attempt {
  readonly name: string;
  readonly url: URL;
  readonly outcome: string;
}

// vsn 3.0.0 (MessagePack) is refused until the stand-in speaks it.
const SKIPPED = ["vsn 3.0.0 (msgpack)"];

describe("the hub admits and refuses as the real server did", { skip: fixturesMissing }, () => {
  const clock = new FakeClock();
  let authority: Authority;
  let web: Hub;
  let devices: Hub;

  before(async () => {
    authority = await createAuthority("hub CA");
    const secrets = {
      [PRODUCT.key]: { secret: PRODUCT.secret },
      [OWN.key]: { secret: OWN.secret, identifier: OWN.identifier },
    };
    const server = await authority.server(["localhost"]);
    web = await startHub({ clock, secrets });
    devices = await startHub({
      clock,
      secrets,
      tls: { ...server, ca: authority.cert, clientCertificates: "optional", devices: ["cert-dev-1"] },
    });
  });
  after(async () => Promise.all([web.stop(), devices.stop()]));

  const signed = (
    by: Parameters<typeof signNh1>[0],
    skewS = 0,
    ...alg: [] | [string]
  ): { headers: Record<string, string> } => ({
    headers: signNh1(by, Math.floor(clock.now() / 1000) + skewS, ...alg),
  });
  const changed = (header: string, value?: string): ClientOptions => {
    const kept = Object.entries(signed(PRODUCT).headers).filter(([name]) => name !== header);
    return { headers: Object.fromEntries(value === undefined ? kept : [...kept, [header, value]]) };
  };
  const credentials: Readonly<Record<string, () => ClientOptions | Promise<ClientOptions>>> = {
    "no headers": () => ({}),
    "ok product key sha512": () => signed(PRODUCT, 0, "NH1-HMAC-sha512-1000-32"),
    "ok device key": () => signed(OWN),
    "device key, other identifier": () => signed({ ...OWN, identifier: "dev-1" }),
    "wrong secret": () => signed({ ...PRODUCT, secret: "another" }),
    "unknown key": () => signed({ ...PRODUCT, key: "nhp_unknown" }),
    "time -80s": () => signed(PRODUCT, -80),
    "time -95s": () => signed(PRODUCT, -95),
    "time +3600s": () => signed(PRODUCT, 3600),
    "alg garbage": () => changed("x-nh-alg", "garbage"),
    "no x-nh-time": () => changed("x-nh-time"),
    "permessage-deflate offered": () => ({ ...signed(PRODUCT), perMessageDeflate: true }),
    "device ep, no cert no headers": () => ({}),
    "device ep, known cert (first: registers)": async () => authority.device("cert-dev-1"),
    "device ep, known cert again /device-socket": async () => authority.device("cert-dev-1"),
    "device ep, cert of unregistered device": async () => authority.device("stranger"),
    "device ep, self-signed unknown": async () => (await createAuthority("unknown CA")).device("cert-dev-1"),
    "device ep, TLS1.3 only": async () => ({
      ...(await authority.device("cert-dev-1")),
      minVersion: "TLSv1.3",
    }),
    "device ep, client does not trust server CA": async () => ({
      ...(await authority.device("cert-dev-1")),
      ca: (await createAuthority("another CA")).cert,
    }),
  };

  it("answers every attempt of auth.log as recorded", async () => {
    let held = 0;
    for (const { name, url, outcome } of await readAttempts()) {
      if (SKIPPED.includes(name)) continue;
      const base = url.protocol === "wss:" ? devices.url : web.url;
      const own = await (credentials[name] ?? ((): ClientOptions => signed(PRODUCT)))();
      const attempt = await connect(`${base}${url.pathname}${url.search}`, { ca: authority.cert, ...own });
      attempt.device?.close();

      const [, status, headers = "{}", body] =
        /(?:HTTP|UPGRADE) (\d+) (\{.*?\})(?: (".*"))?$/m.exec(outcome) ?? [];
      assert.equal(attempt.status, status === undefined ? undefined : Number(status), name);
      assert.equal(alertOf(attempt.error), alertOf(outcome), name);
      assert.equal(attempt.body, JSON.parse(body ?? '""'), name);
      assert.deepEqual(comparable(attempt.headers), comparable(JSON.parse(headers) as object), name);
      held += 1;
    }
    assert.equal(held, 26);
  });

  it("accepts signatures up to 89 s old, and none from the future (skew.log)", async () => {
    const log = await readFile(fixture("hub-transcripts/skew.log"), "utf8");
    const rows = [...log.matchAll(/skew (-?\d+) (ACCEPTED|REFUSED)/g)];
    assert.equal(rows.length, 8);
    for (const [, skew, verdict] of rows) {
      const attempt = await connect(
        `${web.url}/device-socket/websocket?vsn=2.0.0`,
        signed(PRODUCT, Number(skew)),
      );
      attempt.device?.close();
      assert.equal(attempt.status, verdict === "ACCEPTED" ? 101 : 401, `skew ${skew}`);
    }
  });

  it("signs as plug_crypto does (the vector of keys.md)", async () => {
    const vector = JSON.parse(await readFile(fixture("nh1-vector.json"), "utf8")) as Record<string, string>;
    const { key = "", secret = "", identifier = "" } = vector;
    const headers = signNh1({ key, secret, identifier }, Number(vector["time"]));
    assert.equal(headers["x-nh-signature"], vector["x-nh-signature"]);
  });
});

describe("the hub, beyond the recording", () => {
  it("checks signatures by its own clock, which may differ from the board's", async () => {
    const clock = new FakeClock();
    const hub = await startHub({
      clock,
      clockSkewMs: 3_600_000,
      secrets: { [PRODUCT.key]: { secret: PRODUCT.secret } },
    });
    const attempt = async (timeS: number): ReturnType<typeof connect> =>
      connect(`${hub.url}/device-socket/websocket?vsn=2.0.0`, { headers: signNh1(PRODUCT, timeS) });
    const refused = await attempt(clock.now() / 1000);
    assert.equal(refused.status, 401);
    const hint = Date.parse(String(refused.headers["date"])) / 1000;
    assert.equal(hint, clock.now() / 1000 + 3600);
    assert.equal((await attempt(hint)).status, 101);
    await hub.stop();
  });

  it("asks every device for a certificate when certificates are required, and checks its dates", async () => {
    const authority = await createAuthority("hub CA");
    const server = await authority.server(["localhost"]);
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      const hub = await startHub({
        tls: { ...server, ca: authority.cert, clientCertificates: "required", maxVersion },
      });
      const past = { notBefore: new Date(0), notAfter: new Date(1000) };
      const attempt = async (own: ClientOptions): ReturnType<typeof connect> =>
        connect(`${hub.url}/socket/websocket?vsn=2.0.0`, { ca: authority.cert, ...own });
      assert.equal((await attempt(await authority.device("a"))).status, 101);
      assert.equal((await attempt({})).status, undefined);
      assert.equal((await attempt(await authority.device("a", past))).status, undefined);
      await hub.stop();
    }
  });

  it("refuses an algorithm with too many iterations", async () => {
    const hub = await startHub({ secrets: { [PRODUCT.key]: { secret: PRODUCT.secret } } });
    for (const alg of [
      "NH1-HMAC-sha256-999999999-32",
      "NH1-HMAC-sha256-1-999999",
      "NH1-HMAC-nonsense-1-32",
    ]) {
      const headers = { ...signNh1(PRODUCT, Math.floor(Date.now() / 1000)), "x-nh-alg": alg };
      assert.equal((await connect(`${hub.url}/device-socket/websocket?vsn=2.0.0`, { headers })).status, 401);
    }
    await hub.stop();
  });
});

async function readAttempts(): Promise<Attempt[]> {
  const log = await readFile(fixture("hub-transcripts/auth.log"), "utf8");
  return log
    .split(/^ *[\d.]+ === /m)
    .slice(1)
    .map((part) => {
      const [head = "", ...rest] = part.split("\n");
      const [name = "", url = ""] = head.split(/ {2}(?=wss?:)/);
      return { name, url: new URL(url), outcome: rest.join("\n") };
    });
}

function alertOf(text = ""): string | undefined {
  return /SSL alert number (\d+)/.exec(text)?.[1];
}

/** Headers that don't depend on the moment; of extensions only that there are some: `ws` words them differently. */
function comparable(headers: object): Record<string, unknown> {
  const kept = Object.entries(headers).filter(([name]) => name !== "sec-websocket-accept");
  const { date, ...rest } = Object.fromEntries(kept) as Record<string, unknown>;
  const extensions = rest["sec-websocket-extensions"] !== undefined;
  // The stand-in ends the connection after a refusal; the real server keeps it.
  const connection = rest["connection"] === "close" ? undefined : rest["connection"];
  return { ...rest, connection, "sec-websocket-extensions": extensions, date: date !== undefined };
}
