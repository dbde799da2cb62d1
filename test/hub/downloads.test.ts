/**
 * The stand-in hub's download server: its answers when all is well, and that each fault does what it says.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { systemCode } from "../../src/platform/failure.ts";
import { inTime } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { createAuthority } from "./certificates.ts";
import * as faults from "./faults.ts";
import type { Release } from "./releases.ts";
import { startHub, type Hub } from "./server.ts";

const META = { uuid: "u", product: "p", version: "1.0.0", platform: "rpi0", architecture: "arm" };
const SIZE = 3_000_000;
const FILE = Buffer.from(Array.from({ length: SIZE }, (_, index) => (index * 7 + (index >> 8)) & 0xff));

interface Download {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The error code of a broken connection. */
  readonly broken: string | undefined;
}

describe("firmware downloads", () => {
  let dir: string;
  let hub: Hub;
  let release: Release;
  const clock = new FakeClock();

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "hub-downloads-"));
    await writeFile(join(dir, "a.fw"), FILE);
  });
  after(async () => rm(dir, { recursive: true }));
  beforeEach(async () => {
    hub = await startHub({ clock });
    release = await hub.publish(join(dir, "a.fw"), META);
  });
  afterEach(async () => hub.stop());

  const get = async (headers: Record<string, string> = {}, url = hub.urlOf(release)): Promise<Download> =>
    download(url, headers);

  it("serves the whole file and ranges of it, as NervesHub's local store does", async () => {
    const whole = await get();
    assert.equal(whole.status, 200);
    assert.ok(whole.body.equals(FILE));
    assert.equal(whole.headers["accept-ranges"], "bytes");
    assert.equal(whole.headers["content-type"], "application/fwup");
    assert.equal(whole.headers.date, new Date(clock.now()).toUTCString());

    const ranges: [string, number, number][] = [
      ["bytes=100-199", 100, 199],
      [`bytes=${SIZE - 5}-`, SIZE - 5, SIZE - 1],
      ["bytes=-7", SIZE - 7, SIZE - 1],
      [`bytes=5-${SIZE * 2}`, 5, SIZE - 1],
    ];
    for (const [range, start, end] of ranges) {
      const part = await get({ range });
      assert.equal(part.status, 206);
      assert.equal(part.headers["content-range"], `bytes ${start}-${end}/${SIZE}`);
      assert.ok(part.body.equals(FILE.subarray(start, end + 1)), range);
    }
    assert.equal((await get({ range: `bytes=${SIZE}-` })).status, 500);
    assert.equal((await get({ range: "bytes=0-1", "if-range": release.etag })).status, 206);
    assert.equal((await get({ range: "bytes=0-1", "if-range": '"other"' })).status, 200);
    assert.deepEqual(
      hub.downloads.slice(0, 2).map(({ range, status, sentBytes }) => [range, status, sentBytes]),
      [
        [undefined, 200, SIZE],
        ["bytes=100-199", 206, 100],
      ],
    );
  });

  it("checks the URL's signature and when it expires", async () => {
    const url = hub.urlOf(release);
    assert.equal((await get({}, url.replace(/token=./, "token=x"))).status, 401);
    assert.equal((await get({}, url.replace(/\?.*/, ""))).status, 401);
    assert.equal((await get({}, url.replace(/expires=\d/, "expires=9"))).status, 401);
    assert.equal((await get({}, `${hub.downloadUrl}/nothing`)).status, 404);
    clock.jump(600_000);
    assert.equal((await get({}, url)).status, 403);
    assert.equal((await get()).status, 200);
  });

  it("serves over TLS where the hub has TLS, without asking for certificates", async () => {
    const authority = await createAuthority("hub CA");
    const tls = { ...(await authority.server(["localhost"])), ca: authority.cert };
    const secure = await startHub({ tls: { ...tls, clientCertificates: "required" } });
    const there = await secure.publish(join(dir, "a.fw"), META);
    const got = await download(secure.urlOf(there), {}, authority.cert);
    assert.ok(got.body.equals(FILE));
    secure.faults.add(faults.resetAfter(1000), 1);
    assert.equal((await download(secure.urlOf(there), {}, authority.cert)).broken, "ECONNRESET");
    await secure.stop();
  });

  it("breaks a download off at a byte: by a reset, a cut, or a wrong Content-Length", async () => {
    hub.faults.add(faults.resetAfter(100_000), 1);
    const reset = await get();
    assert.equal(reset.broken, "ECONNRESET");
    assert.ok(reset.body.length <= 100_000);

    hub.faults.add(faults.truncateAt(100_000), 1);
    const truncated = await get();
    assert.equal(truncated.headers["content-length"], String(SIZE));
    assert.deepEqual([truncated.body.length, truncated.broken], [100_000, "ECONNRESET"]);

    hub.faults.add(faults.wrongContentLength(10), 1);
    const short = await get();
    assert.equal(short.headers["content-length"], String(SIZE + 10));
    assert.deepEqual([short.body.length, short.broken], [SIZE, "ECONNRESET"]);

    hub.faults.add(faults.wrongContentLength(-10), 1);
    assert.match(String((await get()).broken), /^HPE_/, "bytes after the announced end");

    hub.faults.add(faults.resetAtConnect(), 1);
    assert.equal((await get()).broken, "ECONNRESET");
    assert.equal((await get()).status, 200, "each fault was used up");
  });

  it("stalls a download, or drips it by the hub's clock", async () => {
    hub.faults.add(faults.stallAfter(50_000), 1);
    const stalled = get();
    await hub.until(() => hub.downloads[0]?.sentBytes === 50_000);
    assert.equal(hub.downloads[0]?.done, false);
    hub.faults.add(faults.drip(1000, 500), 1);
    const dripping = get({ range: "bytes=0-2499" });
    await hub.until(() => hub.downloads[1]?.sentBytes === 1000);
    await clock.advance(500);
    assert.equal(hub.downloads[1]?.sentBytes, 2000);
    await clock.advance(1000);
    assert.equal((await dripping).body.length, 2500);
    await hub.stop();
    assert.equal((await stalled).broken, "ECONNRESET");
  });

  it("changes bytes: flips one, or sends some twice", async () => {
    hub.faults.add(faults.corruptByte(1_500_000));
    for (const start of [0, 1_000_000]) {
      const got = await get({ range: `bytes=${start}-` });
      const wrong = [...got.body.keys()].filter((index) => got.body[index] !== FILE[start + index]);
      assert.deepEqual(wrong, [1_500_000 - start]);
    }
    hub.faults.clear();
    hub.faults.add(faults.duplicateBytes(1000, 10));
    const got = await get();
    assert.equal(got.body.length, SIZE);
    assert.ok(got.body.subarray(0, 1000).equals(FILE.subarray(0, 1000)));
    assert.ok(got.body.subarray(1000, 2000).equals(FILE.subarray(990, 1990)));
  });

  it("answers ranges wrongly: with the whole file, a wrong Content-Range, or another ETag", async () => {
    const range = { range: "bytes=10-19" };
    hub.faults.add(faults.ignoreRange(), 1);
    const ignored = await get(range);
    assert.deepEqual([ignored.status, ignored.body.length], [200, SIZE]);

    hub.faults.add(faults.lyingContentRange(5), 1);
    const lie = await get(range);
    assert.equal(lie.headers["content-range"], `bytes 15-24/${SIZE}`);
    assert.ok(lie.body.equals(FILE.subarray(10, 20)));

    hub.faults.add(faults.changingEtag());
    const first = await get();
    const second = await get({ ...range, "if-range": String(first.headers.etag) });
    assert.notEqual(second.headers.etag, first.headers.etag);
    assert.equal(second.status, 200);
  });

  it("refuses and redirects downloads", async () => {
    for (const status of [404, 410, 403, 500]) {
      hub.faults.add(faults.refuseDownload(status), 1);
      assert.equal((await get()).status, status);
    }
    hub.faults.add(faults.refuseDownload(503, 7), 2);
    assert.equal((await get()).headers["retry-after"], "7");
    assert.equal((await get()).status, 503);
    hub.faults.add(faults.redirectDownload());
    const { status, headers } = await get();
    assert.equal(status, 302);
    const there = await get({}, new URL(headers.location ?? "", hub.downloadUrl).href);
    assert.ok(there.body.equals(FILE));
  });
});

async function download(url: string, headers: Record<string, string>, ca?: string): Promise<Download> {
  const answer = new Promise<Download>((resolve) => {
    const options = { headers, agent: false, ...(ca !== undefined && { ca }) };
    const request = (url.startsWith("https:") ? httpsRequest : httpRequest)(url, options, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      const done = (broken?: string): void =>
        resolve({
          status: response.statusCode,
          headers: response.headers,
          body: Buffer.concat(chunks),
          broken,
        });
      response.once("end", () => done());
      response.once("error", (error) => done(systemCode(error) ?? error.message));
    });
    request.once("error", (error) => {
      resolve({ status: undefined, headers: {}, body: Buffer.alloc(0), broken: systemCode(error) ?? "" });
    });
    request.end();
  });
  return inTime(answer, `the answer to a request for ${url}`);
}
