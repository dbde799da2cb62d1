/**
 * One download over a line that fails in every way: it resumes, retries, asks for a fresh URL, or ends with a
 * clear failure. Nothing is left open after any of it.
 */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, it } from "node:test";
import type { Trusted } from "../../src/download/http-file.ts";
import { LineFault, type RetryOptions } from "../../src/download/retries.ts";
import { download, type DownloadOptions } from "../../src/download/stream.ts";
import { Verifier, type ExpectedFile, PART_BYTES } from "../../src/download/verify.ts";
import { Failure, failedWith } from "../../src/platform/failure.ts";
import type { FailureCode } from "../../src/platform/failures.ts";
import { TokenBucket } from "../../src/platform/pace.ts";
import { createAuthority } from "../identity/authority.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { announce, someBytes } from "./announce.ts";
import { type Answer, type FileServer, give, serve, status } from "./file-server.ts";
import { eventually, inTime } from "../eventually.ts";
import { watchForLeftovers } from "./left-behind.ts";
import { type LoggedRetry, retryLog } from "./retry-log.ts";

const FILE = someBytes(2 * PART_BYTES + 300_000);
const NOTHING: ExpectedFile = { sizeBytes: null, checksum: null, parts: null };
const RETRY: RetryOptions["retry"] = {
  attempts: 3,
  delayMs: 15_000,
  idleTimeoutMs: 60_000,
  totalTimeoutMs: 86_400_000,
  minRateBytesS: 1000,
};

describe("a download", () => {
  let clock: FakeClock;
  let lines: string[];
  let retries: LoggedRetry[];
  let servers: FileServer[];
  let nothingIsLeft: () => Promise<void>;

  beforeEach(async () => {
    await import("undici"); // loaded here, so that what it keeps open does not count as left behind
    nothingIsLeft = watchForLeftovers();
    clock = new FakeClock();
    lines = [];
    retries = [];
    servers = [];
  });

  afterEach(async () => {
    await eventually(
      () => servers.every(({ connections }) => connections === 0),
      "its connections are closed",
    );
    await Promise.all(servers.map(async (server) => server.close()));
    assert.equal(clock.pending, 0, "a timer was left behind");
    await nothingIsLeft();
    assert.doesNotMatch(lines.join("\n"), /secret/);
  });

  async function server(...answers: Answer[]): Promise<FileServer> {
    const started = await serve(answers);
    servers.push(started);
    return started;
  }

  function open(
    url: string,
    verifier: Verifier,
    changes: Partial<DownloadOptions> = {},
  ): AsyncGenerator<Uint8Array> {
    return download({
      url: `${url}?sig=secret`,
      verifier,
      clock,
      retry: RETRY,
      log: retryLog(lines, (retry) => {
        retries.push(retry);
        void clock.advance(retry.delayMs);
      }),
      random: () => 0,
      ...changes,
    });
  }

  /** Fetches the whole file. @returns a copy of all chunks, since the download uses their memory again */
  async function fetchFrom(
    { origin }: FileServer,
    expected: ExpectedFile = announce(FILE),
    changes: Partial<DownloadOptions> = {},
  ): Promise<Buffer> {
    const out: Buffer[] = [];
    for await (const chunk of open(`${origin}/fw`, new Verifier(expected), changes))
      out.push(Buffer.from(chunk));
    return Buffer.concat(out);
  }

  async function fails(work: Promise<unknown>, code: FailureCode, message?: RegExp): Promise<void> {
    await assert.rejects(work, (error) => {
      assert.ok(error instanceof Failure, String(error));
      assert.equal(error.code, code);
      assert.doesNotMatch(error.message, /secret/);
      if (message !== undefined) assert.match(error.message, message);
      return true;
    });
  }

  const ranges = ({ requests }: FileServer): (string | undefined)[] =>
    requests.map(({ headers }) => headers.range);

  it("gives the file", async () => {
    const origin = await server(give(FILE));
    assert.ok((await fetchFrom(origin)).equals(FILE));
    assert.equal(origin.requests[0]?.path, "/fw?sig=secret");
    assert.equal(origin.requests[0].headers["accept-encoding"], "identity");
  });

  it("gives a file whose length the server does not send", async () => {
    const headers = { "content-length": undefined, etag: undefined };
    assert.ok((await fetchFrom(await server(give(FILE, { headers })))).equals(FILE));
    assert.ok((await fetchFrom(await server(give(FILE, { headers })), NOTHING)).equals(FILE));
  });

  it("sends no request when the file is complete already", async () => {
    const verifier = new Verifier(announce(FILE));
    for (const chunk of verifier.push(FILE)) assert.ok(chunk.length > 0);
    const origin = await server(status(500));
    const rest = await collect(open(origin.origin, verifier));
    assert.ok(rest.length > 0 && rest.equals(FILE.subarray(-rest.length)));
    assert.equal(origin.requests.length, 0);
  });

  describe("goes on at the last byte", () => {
    it("after a reset, if the file is still the same", async () => {
      const origin = await server(
        give(FILE, { stopAfter: 1_200_000 }),
        give(FILE, { stopAfter: 500_000 }),
        give(FILE),
      );
      assert.ok((await fetchFrom(origin, NOTHING)).equals(FILE));
      assert.deepEqual(
        origin.requests.map(({ headers }) => [headers.range, headers["if-range"]]),
        [
          [undefined, undefined],
          [`bytes=${retries[0]?.bytes}-`, '"one"'],
          [`bytes=${retries[1]?.bytes}-`, '"one"'],
        ],
      );
      assert.ok((retries[0]?.bytes ?? 0) > 0);
      assert.match(
        lines[0] ?? "",
        /^warn download interrupted, trying again: .* bytes=\d+ failures=1 delay_s=30$/,
      );
    });

    it("after the connection ended too early, with or without a length", async () => {
      for (const headers of [{}, { "content-length": undefined }]) {
        const origin = await server(give(FILE, { stopAfter: 100_000, stop: "end", headers }), give(FILE));
        assert.ok((await fetchFrom(origin)).equals(FILE));
        assert.deepEqual(ranges(origin), [undefined, "bytes=100000-"]);
      }
    });

    it("after a silence, before the answer or within it", async () => {
      const silent: Answer = () => undefined;
      const origin = await server(silent, give(FILE, { stopAfter: 100_000, stop: "stall" }), give(FILE));
      const verifier = new Verifier(announce(FILE));
      const work = collect(open(origin.origin, verifier));
      await eventually(() => origin.requests.length === 1, "asked");
      await clock.advance(60_000);
      await eventually(() => verifier.offset === 100_000, "the first bytes came");
      await clock.advance(59_999);
      assert.equal(retries.length, 1);
      await clock.advance(1);
      assert.ok((await work).equals(FILE));
      assert.deepEqual(
        retries.map(({ reason, failures }) => [reason, failures]),
        [
          ["no byte came for 60 s", 1],
          ["no byte came for 60 s", 1],
        ],
      );
    });

    it("after any number of interruptions, if each attempt brings some bytes", async () => {
      const origin = await server(
        ...Array.from({ length: 8 }, () => give(FILE, { stopAfter: 50_000, stop: "end" })),
        give(FILE),
      );
      assert.ok((await fetchFrom(origin)).equals(FILE));
      assert.equal(origin.requests.length, 9);
    });

    it("that a verifier already has", async () => {
      const verifier = new Verifier(announce(FILE));
      for (const chunk of verifier.push(FILE.subarray(0, 1_500_000))) assert.ok(chunk.length > 0);
      const origin = await server(give(FILE));
      const out = await collect(open(origin.origin, verifier));
      assert.ok(out.equals(FILE.subarray(FILE.length - out.length)));
      assert.equal(origin.requests[0]?.headers.range, "bytes=1500000-");
    });

    it("though the server gives no ranges, by skipping the bytes that it has", async () => {
      for (const expected of [announce(FILE), NOTHING]) {
        const stop = { stopAfter: 1_200_000, stop: "end" } as const;
        const origin = await server(give(FILE, stop), give(FILE, { ranges: false }));
        assert.ok((await fetchFrom(origin, expected)).equals(FILE));
        assert.equal(origin.requests.length, 2);
      }
    });

    it("without If-Range when the ETag is weak", async () => {
      const etag = 'W/"one"';
      const origin = await server(
        give(FILE, { etag, stopAfter: 100_000, stop: "end" }),
        give(FILE, { etag }),
      );
      assert.ok((await fetchFrom(origin, NOTHING)).equals(FILE));
      assert.equal(origin.requests[1]?.headers["if-range"], undefined);
    });

    it("whatever the ETag is, when a checksum proves the bytes: servers behind one name differ in it", async () => {
      const stop = { stopAfter: PART_BYTES + 500_000, stop: "end" } as const;
      for (const parts of [null, announce(FILE).parts]) {
        const origin = await server(
          give(FILE, { ...stop, etag: '"node-1"' }),
          status(416),
          give(FILE, { etag: '"node-2"', stopAfter: 100_000, stop: "end" }),
          give(FILE, { etag: '"node-3"', ranges: false }),
        );
        assert.ok((await fetchFrom(origin, { ...announce(FILE), parts })).equals(FILE));
        const from = [500_000, 500_000, 600_000].map((more) => `bytes=${PART_BYTES + more}-`);
        assert.deepEqual(ranges(origin), [undefined, ...from]);
        assert.ok(origin.requests.every(({ headers }) => headers["if-range"] === undefined));
      }
    });

    it("without another request when only the end of the answer was lost", async () => {
      const headers = { "content-length": String(FILE.length + 10) };
      const origin = await server(give(FILE, { stopAfter: FILE.length, stop: "end", headers }));
      const verifier = new Verifier({ ...announce(FILE), parts: null });
      assert.ok((await collect(open(origin.origin, verifier))).equals(FILE));
      assert.equal(retries.length, 1);
      assert.equal(origin.requests.length, 1);
    });
  });

  describe("fetches a wrong part again", () => {
    const corrupted = Buffer.from(FILE);
    corrupted.writeUInt8(corrupted.readUInt8(PART_BYTES + 9) ^ 1, PART_BYTES + 9);

    it("from the part's start", async () => {
      const origin = await server(give(corrupted), give(FILE));
      assert.ok((await fetchFrom(origin)).equals(FILE));
      assert.deepEqual(ranges(origin), [undefined, `bytes=${PART_BYTES}-`]);
      assert.match(retries[0]?.reason ?? "", /part 2 of 3/);
    });

    it("but gives up when it stays wrong", async () => {
      const origin = await server(give(corrupted));
      const retry = { ...RETRY, attempts: 10 };
      await assert.rejects(fetchFrom(origin, announce(FILE), { retry }), (error) =>
        failedWith(error, "part_wrong"),
      );
      assert.equal(origin.requests.length, 3);
    });
  });

  it("fails when the file is longer than announced", async () => {
    const origin = await server(give(Buffer.concat([FILE, Buffer.alloc(1)])));
    await assert.rejects(fetchFrom(origin, { ...announce(FILE), parts: null }), {
      code: "size_wrong",
      message: /is longer than/,
    });
    assert.equal(origin.requests.length, 1);
  });

  it("tries again when the answer is shorter than announced, as the login page of a network is", async () => {
    const page = Buffer.from("<html><body>Please log in</body></html>");
    const origin = await server(give(page), give(page), give(FILE));
    assert.ok((await fetchFrom(origin)).equals(FILE));
    assert.match(retries[0]?.reason ?? "", /sends 39 bytes, announced were/);
    const never = await server(give(page));
    await fails(fetchFrom(never), "download_gave_up");
  });

  it("takes a file whose content-encoding encodes nothing, and refuses one that is encoded", async () => {
    for (const encoding of ["", "Identity", "none", "aws-chunked", "aws-chunked, identity"]) {
      const origin = await server(give(FILE, { headers: { "content-encoding": encoding } }));
      assert.ok((await fetchFrom(origin)).equals(FILE), encoding);
    }
    const origin = await server(give(FILE, { headers: { "content-encoding": "gzip" } }));
    await fails(fetchFrom(origin), "download_refused");
  });

  it("asks for a fresh URL when S3 says that the credentials behind the old one have expired", async () => {
    const expired = status(400, {}, "<Error><Code>ExpiredToken</Code></Error>");
    const origin = await server(expired, give(FILE));
    const renewUrl = async (): Promise<string> => Promise.resolve(`${origin.origin}/fresh`);
    assert.ok((await fetchFrom(origin, announce(FILE), { renewUrl })).equals(FILE));
    assert.equal(origin.requests[1]?.path, "/fresh");
    const other = await server(status(400, {}, "<Error><Code>InvalidRequest</Code></Error>"));
    await fails(fetchFrom(other, announce(FILE), { renewUrl }), "download_refused");
  });

  it("takes a partial answer from the start to a request for the whole, and goes on after it", async () => {
    const part = give(FILE.subarray(0, 1000), {
      status: 206,
      headers: { "content-range": `bytes 0-999/${FILE.length}` },
    });
    const origin = await server(part, give(FILE));
    assert.ok((await fetchFrom(origin)).equals(FILE));
  });

  it("says what it is, because firewalls refuse requests that do not", async () => {
    const origin = await server(give(FILE));
    await fetchFrom(origin);
    assert.match(String(origin.requests[0]?.headers["user-agent"]), /^hublink\/\d/);
  });

  describe("whose file changes during the download", () => {
    const part = { stopAfter: 200_000, stop: "end" } as const;
    const other = someBytes(FILE.length, 1);

    for (const [what, answer] of [
      ["the ETag is another", give(FILE, { etag: '"two"' })],
      ["If-Range gives the whole of another file", give(other, { etag: '"two"', ranges: false })],
      ["its length differs", give(Buffer.concat([FILE, FILE]), {})],
    ] as const) {
      it(`fails once the consumer has got bytes: ${what}`, async () => {
        const origin = await server(give(FILE, part), answer);
        await fails(fetchFrom(origin, NOTHING), "file_changed");
        assert.equal(origin.requests.length, 2);
      });
    }

    it("fails once the consumer has got bytes: the range does not exist any more (asks 10)", async () => {
      const origin = await server(give(FILE, part), status(416));
      await fails(fetchFrom(origin, NOTHING), "file_changed");
      assert.equal(origin.requests.length, 2);
    });

    it("starts over before the consumer has got bytes", async () => {
      const few = { stopAfter: 1000, stop: "end", etag: '"old"' } as const;
      for (const answer of [give(FILE, { ranges: false }), give(FILE)]) {
        const origin = await server(give(other, few), answer);
        assert.ok((await fetchFrom(origin, NOTHING)).equals(FILE));
      }
    });

    it("fetches again the part that was put together from two files", async () => {
      const stop = { stopAfter: PART_BYTES + 500_000, stop: "end", etag: '"old"' } as const;
      const old = Buffer.concat([FILE.subarray(0, PART_BYTES), other.subarray(PART_BYTES)]);
      const origin = await server(give(old, stop), give(FILE));
      assert.ok((await fetchFrom(origin)).equals(FILE));
      assert.deepEqual(
        ranges(origin).slice(1),
        [PART_BYTES + 500_000, PART_BYTES].map((from) => `bytes=${from}-`),
      );
    });

    it("has changed, not a wrong checksum, when it was put together from two files", async () => {
      const small = FILE.subarray(0, 50_000);
      const whole = { ...announce(small), parts: null };
      const few = { stopAfter: 1000, stop: "end", etag: '"old"' } as const;
      const origin = await server(give(other.subarray(0, 50_000), few), give(small));
      assert.ok((await fetchFrom(origin, whole)).equals(small), "no byte was handed out: it starts over");
      const large = await server(give(other, { ...few, stopAfter: 500_000 }), give(FILE));
      await fails(fetchFrom(large, { ...announce(FILE), parts: null }), "file_changed");
      const wrong = await server(give(other));
      await fails(fetchFrom(wrong, { ...announce(FILE), parts: null }), "checksum_wrong");
    });
  });

  describe("whose URL has expired (asks 4)", () => {
    const stop = { stopAfter: 1_200_000, stop: "end" } as const;

    for (const code of [401, 403, 404, 410]) {
      it(`HTTP ${code}: goes on from a fresh URL where the old one ended`, async () => {
        const fresh = await server(give(FILE));
        const origin = await server(give(FILE, stop), status(code));
        const asked: AbortSignal[] = [];
        const renewUrl = async (signal: AbortSignal): Promise<string> => {
          asked.push(signal);
          return Promise.resolve(`${fresh.origin}/fresh?sig=secret`);
        };
        assert.ok((await fetchFrom(origin, announce(FILE), { renewUrl })).equals(FILE));
        assert.equal(asked.length, 1);
        assert.deepEqual(ranges(fresh), ["bytes=1200000-"]);
      });
    }

    it("fails when fresh URLs bring no byte either (asks 12)", async () => {
      const origin = await server(give(FILE, stop), status(404));
      const renewUrl = async (): Promise<string> => Promise.resolve(`${origin.origin}/?sig=secret`);
      await fails(fetchFrom(origin, announce(FILE), { renewUrl }), "url_expired");
      assert.equal(origin.requests.length, 2 + 3);
    });

    it("gets any number of fresh URLs, if each brings some bytes", async () => {
      const bit = { stopAfter: 100_000, stop: "end" } as const;
      const answers = Array.from({ length: 8 }, () => [give(FILE, bit), status(403)]).flat();
      const origin = await server(...answers, give(FILE));
      const renewUrl = async (): Promise<string> => Promise.resolve(origin.origin);
      assert.ok((await fetchFrom(origin, announce(FILE), { renewUrl })).equals(FILE));
    });

    it("asks again when no fresh URL comes, and finally gives up", async () => {
      const origin = await server(status(403));
      let asked = 0;
      const renewUrl = async (): Promise<string> => {
        asked += 1;
        return Promise.reject(new LineFault("no fresh URL came"));
      };
      await fails(fetchFrom(origin, NOTHING, { renewUrl }), "download_gave_up", /no fresh URL came/);
      assert.equal(asked, 3);
    });

    it("stops waiting for a fresh URL when the download takes too long, or is aborted", async () => {
      const origin = await server(status(403));
      const never = async (signal: AbortSignal): Promise<string> =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        });
      const late = fails(fetchFrom(origin, NOTHING, { renewUrl: never }), "download_timed_out");
      await eventually(() => lines.length === 1, "asked");
      await clock.advance(86_400_000);
      await late;

      const abort = new AbortController();
      const stopped = fetchFrom(origin, NOTHING, { renewUrl: never, signal: abort.signal });
      await eventually(() => lines.length === 2, "asked again");
      abort.abort(new Error("stop"));
      await assert.rejects(stopped, /stop/);
    });
  });

  describe("fails at once, since another attempt can't help, after", () => {
    for (const code of [401, 403, 404, 410]) {
      it(`HTTP ${code}, when the URL has expired or the file is gone`, async () => {
        const origin = await server(status(code));
        await fails(fetchFrom(origin), "url_expired", new RegExp(`answers HTTP ${code}`));
        assert.equal(origin.requests.length, 1);
      });
    }

    for (const [what, answer] of [
      ["HTTP 400", status(400)],
      ["HTTP 204", status(204)],
      ["HTTP 304", status(304)],
      ["a content-encoding", give(FILE, { headers: { "content-encoding": "gzip" } })],
      ["a redirect to nowhere", status(302)],
      ["a redirect to another protocol", status(302, { location: "file:///etc/passwd?secret" })],
      ["redirects in a circle", status(302, { location: "/fw?secret" })],
    ] as const) {
      it(what, async () => {
        const origin = await server(answer);
        await fails(fetchFrom(origin), "download_refused");
        assert.ok(origin.requests.length <= 6);
      });
    }

    it("a malformed URL", async () => {
      for (const url of ["secret", "ftp://host/secret", ""]) {
        await fails(collect(open(url, new Verifier(NOTHING), { url })), "download_refused");
      }
    });
  });

  describe("is tried again", () => {
    for (const code of [408, 416, 425, 429, 500, 502, 503]) {
      it(`after HTTP ${code}`, async () => {
        const origin = await server(status(code), give(FILE));
        assert.ok((await fetchFrom(origin)).equals(FILE));
        assert.match(retries[0]?.reason ?? "", new RegExp(`^127\\.0\\.0\\.1:\\d+ answers HTTP ${code}$`));
      });
    }

    it("after a wrong range, or a range without a request for one", async () => {
      const lie = { headers: { "content-range": `bytes 5-${FILE.length - 1}/${FILE.length}` } };
      const origin = await server(
        give(FILE, { status: 206 }),
        give(FILE, { stopAfter: 100_000, stop: "end" }),
        give(FILE, lie),
        give(FILE, { headers: { "content-range": undefined } }),
        give(FILE),
      );
      assert.ok((await fetchFrom(origin, announce(FILE), { retry: { ...RETRY, attempts: 4 } })).equals(FILE));
      assert.deepEqual(
        retries.map(({ reason }) => reason.replace(/^\S+ /, "")),
        [
          "sends another range than it was asked for",
          "side closed",
          "sends another range than it was asked for",
          "sends another range than it was asked for",
        ],
      );
    });

    it("with delays that double and vary at random, until it gives up", async () => {
      const origin = await server(status(500));
      const retry = { ...RETRY, attempts: 8 };
      await fails(
        fetchFrom(origin, NOTHING, { retry, random: () => 0.5 }),
        "download_gave_up",
        /no further in 8 attempts; .* HTTP 500/,
      );
      assert.deepEqual(
        retries.map(({ delayMs }) => delayMs / 1000),
        [15, 30, 60, 120, 240, 480, 600],
      );
    });

    it("at random after the time that the server asks for, which may be an hour", async () => {
      const date = "Thu, 01 Jan 2026 00:00:00 GMT";
      const origin = await server(
        status(503, { "retry-after": "120" }),
        status(503, { "retry-after": "Thu, 01 Jan 2026 00:10:00 GMT", date }),
        status(429, { "retry-after": "1000000" }),
        status(503, { "retry-after": "soon" }),
        status(500),
      );
      clock.jump(-1e12); // the board's clock is wrong, so the server's date must count
      const retry = { ...RETRY, attempts: 5 };
      await fails(fetchFrom(origin, NOTHING, { retry, random: () => 0.5 }), "download_gave_up");
      assert.deepEqual(
        retries.map(({ delayMs }) => delayMs / 1000),
        [120 + 15, 600 + 30, 3600 + 60, 120],
      );
    });

    it("for as long as a person waits for the first byte, and says why it waits", async () => {
      const waits: (string | undefined)[] = [];
      const onWaiting = (wait?: { readonly reason: string }): void => void waits.push(wait?.reason);
      const patience = { retry: { ...RETRY, attempts: 100 }, firstByteMs: 60_000, onWaiting };
      const silent = await server(status(500));
      await fails(
        fetchFrom(silent, NOTHING, patience),
        "download_gave_up",
        /^no byte came in \d attempts; the last one: 127\.0\.0\.1:\d+ answers HTTP 500$/,
      );
      assert.ok(clock.monotonic() <= 60_000);
      assert.match(String(waits[0]), /answers HTTP 500$/);
      waits.length = 0;
      const slow = await server(
        status(500),
        give(FILE, { stopAfter: 1000, stop: "end" }),
        ...Array.from({ length: 5 }, () => status(500)),
        give(FILE),
      );
      assert.ok(
        (await fetchFrom(slow, NOTHING, patience)).equals(FILE),
        "a line that gave bytes is not given up",
      );
      assert.equal(waits[1], undefined);
      assert.equal(waits.at(-1), undefined);
    });

    it("when nothing listens at the URL", async () => {
      const origin = await server(give(FILE));
      await origin.close();
      await fails(fetchFrom(origin), "download_gave_up", /ECONNREFUSED/);
    });
  });

  describe("that takes too long in all", () => {
    it("fails instead of waiting for another attempt", async () => {
      const origin = await server(status(500));
      const retry = { ...RETRY, attempts: 100, totalTimeoutMs: 100_000 };
      await fails(fetchFrom(origin, NOTHING, { retry }), "download_timed_out", /100 s in all.*HTTP 500/);
      assert.equal(origin.requests.length, 3);
    });

    it("fails while it waits for bytes, though the wall clock jumps", async () => {
      const origin = await server(give(FILE, { stopAfter: 100_000, stop: "stall" }));
      const verifier = new Verifier(NOTHING);
      const failed = fails(
        collect(open(origin.origin, verifier, { retry: { ...RETRY, totalTimeoutMs: 50_000 } })),
        "download_timed_out",
      );
      await eventually(() => verifier.offset === 100_000, "the first bytes came");
      clock.jump(1e10);
      await clock.advance(49_999);
      assert.equal(clock.pending, 1);
      await clock.advance(1);
      await failed;
    });
  });

  it("fails when its consumer takes longer than the whole download may", async () => {
    const origin = await server(give(FILE));
    const slowly = async (): Promise<void> => {
      const retry = { ...RETRY, totalTimeoutMs: 100_000 };
      for await (const chunk of open(origin.origin, new Verifier(announce(FILE)), { retry })) {
        assert.ok(chunk.length > 0);
        await clock.advance(60_000);
      }
    };
    await fails(slowly(), "download_timed_out");
  });

  describe("over a slow line", () => {
    it("asks 15: changes the connection, and gives up if that does not help", async () => {
      const drips: ServerResponse[] = [];
      const origin = await server((response, request) => {
        const start = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
        const range = `bytes ${start}-${FILE.length - 1}/${FILE.length}`;
        response.writeHead(start === 0 ? 200 : 206, { etag: '"one"', "content-range": range });
        response.flushHeaders();
        drips.push(response);
      });
      const verifier = new Verifier(announce(FILE));
      const failed = fails(
        collect(open(origin.origin, verifier, { retry: { ...RETRY, attempts: 2 } })),
        "download_gave_up",
        /the server gave 500 bytes\/s, at least 1000 are wanted/,
      );
      for (const attempt of [1, 2]) {
        await eventually(() => drips.length === attempt && clock.pending === 1, "connected");
        const start = verifier.offset;
        for (const count of [1, 2, 3]) {
          drips[attempt - 1]?.write(FILE.subarray(verifier.offset, verifier.offset + 10_000));
          await eventually(() => verifier.offset === start + count * 10_000, "the drip came");
          await clock.advance(19_000);
        }
        await clock.advance(3000);
      }
      await failed;
      assert.equal(verifier.offset, 60_000);
    });

    it("does not blame the line for a slow consumer", async () => {
      const origin = await server(give(FILE));
      for await (const chunk of open(origin.origin, new Verifier(announce(FILE)))) {
        assert.ok(chunk.length > 0);
        await clock.advance(600_000);
      }
      assert.equal(retries.length, 0);
    });

    it("keeps to its rate limit, and does not take the limit for a slow line", async () => {
      const origin = await server(give(FILE));
      const rateLimit = new TokenBucket({ perSecond: 500, burst: 50 }, clock);
      const retry = { ...RETRY, idleTimeoutMs: 5000 };
      const arrival = new AbortController();
      const fetched = fetchFrom(origin, announce(FILE), { rateLimit, retry });
      const fetching = inTime(fetched, "the file within its limit").finally(() => arrival.abort());
      const startMs = clock.monotonic();
      while (!arrival.signal.aborted) {
        // A wait for the line ends by itself; a wait for the limit ends when the clock moves.
        const { nextDelay } = clock;
        if (nextDelay !== undefined && nextDelay !== retry.idleTimeoutMs) await clock.advance(nextDelay);
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.ok((await fetching).equals(FILE));
      const seconds = (clock.monotonic() - startMs) / 1000;
      assert.ok(Math.abs(seconds - (FILE.length - 50) / 500) < 1, `${seconds} s`);
      assert.equal(retries.length, 0);
    });
  });

  it("asks 17: reads no faster than its consumer", async () => {
    const BIG_BYTES = 256 * 1024 * 1024;
    let given = 0;
    const origin = await server((response) => {
      response.writeHead(200, { "content-length": BIG_BYTES });
      const more = (): void => {
        while (given < BIG_BYTES) {
          given += PART_BYTES;
          if (!response.write(Buffer.alloc(PART_BYTES))) return;
        }
      };
      response.on("drain", more);
      more();
    });
    const bytes = open(origin.origin, new Verifier(NOTHING));
    await bytes.next();
    // The line is full when nothing has moved in many rounds of the event loop.
    for (let still = 0, last = -1; still < 2000; still += 1) {
      await eventually(() => true, "");
      await new Promise((resolve) => setImmediate(resolve));
      if (given !== last) still = 0;
      last = given;
    }
    assert.ok(given < BIG_BYTES / 4, `${given} bytes are under way`);
    await bytes.return(undefined);
  });

  describe("that is aborted", () => {
    const reason = new Error("stop");

    it("ends while it waits for bytes or for its next attempt, and before it has begun", async () => {
      const stalled = await server(give(FILE, { stopAfter: 100_000, stop: "stall" }));
      const abort = new AbortController();
      const verifier = new Verifier(NOTHING);
      const work = collect(open(stalled.origin, verifier, { signal: abort.signal }));
      await eventually(() => verifier.offset === 100_000, "the first bytes came");
      abort.abort(reason);
      await assert.rejects(work, (error) => error === reason);

      const failing = await server(status(500));
      const again = new AbortController();
      const log = retryLog(lines, () => again.abort(reason));
      await assert.rejects(
        fetchFrom(failing, NOTHING, { signal: again.signal, log }),
        (error) => error === reason,
      );

      const signal = AbortSignal.abort(reason);
      await assert.rejects(fetchFrom(failing, NOTHING, { signal }), (error) => error === reason);
      assert.equal(failing.requests.length, 1);
    });

    it("ends when its consumer stops reading", async () => {
      const origin = await server(give(FILE));
      for await (const chunk of open(origin.origin, new Verifier(announce(FILE)))) {
        assert.ok(chunk.length > 0);
        break;
      }
    });
  });

  describe("that is redirected", () => {
    it("follows, also to relative locations, and sends its headers to no other server", async () => {
      const elsewhere = await server(give(FILE));
      const origin = await server(
        status(302, { location: "../other?secret" }),
        status(307, { location: `${elsewhere.origin}/there` }),
      );
      const out = await fetchFrom(origin, announce(FILE), { headers: { "x-board": "one" } });
      assert.ok(out.equals(FILE));
      assert.deepEqual(
        [...origin.requests, ...elsewhere.requests].map(({ path, headers }) => [path, headers["x-board"]]),
        [
          ["/fw?sig=secret", "one"],
          ["/other?secret", "one"],
          ["/there", undefined],
        ],
      );
    });

    it("to the bytes of a location that is not escaped", async () => {
      const origin = await server((response) => {
        response.socket?.end(
          "HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: /größe-\u6f22.fw?v=ä\r\n\r\n",
        );
      }, give(FILE));
      assert.ok((await fetchFrom(origin)).equals(FILE));
      assert.equal(origin.requests[1]?.path, "/gr%C3%B6%C3%9Fe-%E6%BC%A2.fw?v=%C3%A4");
    });

    it("sends no user and password of a location", async () => {
      const elsewhere = await server(give(FILE));
      const location = `${elsewhere.origin.replace("//", "//user:password@")}/there`;
      const origin = await server(status(302, { location }));
      assert.ok((await fetchFrom(origin)).equals(FILE));
      assert.equal(elsewhere.requests[0]?.headers.authorization, undefined);
    });

    it("starts from the first URL again after a fault, since a redirect may expire", async () => {
      const elsewhere = await server(give(FILE, { stopAfter: 100_000, stop: "end" }), give(FILE));
      const origin = await server(status(302, { location: `${elsewhere.origin}/there` }));
      assert.ok((await fetchFrom(origin)).equals(FILE));
      assert.equal(origin.requests.length, 2);
      assert.deepEqual(ranges(elsewhere), [undefined, "bytes=100000-"]);
    });
  });

  describe("over TLS", () => {
    async function tlsServer(...answers: Answer[]): Promise<{ origin: FileServer; trusted: Trusted }> {
      const authority = await createAuthority();
      const issued = await authority.issue({ subject: "CN=localhost", dnsName: "localhost" });
      const key = issued.key.export({ type: "pkcs8", format: "pem" }) as string;
      const origin = await serve(answers, { cert: issued.pem, key });
      servers.push(origin);
      return { origin, trusted: async () => Promise.resolve([authority.pem]) };
    }

    it("trusts the given authorities, and no others", async () => {
      const { origin, trusted } = await tlsServer(give(FILE));
      assert.ok((await fetchFrom(origin, announce(FILE), { trusted })).equals(FILE));
      const stranger = await createAuthority("CN=Stranger");
      await fails(
        fetchFrom(origin, announce(FILE), { trusted: async () => Promise.resolve([stranger.pem]) }),
        "download_gave_up",
        /: localhost:\d+: its certificate is not signed by a CA this board trusts; see firmware\.ca_file \(/,
      );
      await fails(fetchFrom(origin), "download_gave_up", /certificate/);
      assert.equal(origin.requests.length, 1);
    });

    it("goes on after a reset", async () => {
      const { origin, trusted } = await tlsServer(give(FILE, { stopAfter: 100_000 }), give(FILE));
      assert.ok((await fetchFrom(origin, announce(FILE), { trusted })).equals(FILE));
    });

    it("never follows a redirect to a plain connection", async () => {
      const plain = await server(give(FILE));
      const { origin, trusted } = await tlsServer(status(302, { location: plain.origin }));
      await fails(fetchFrom(origin, announce(FILE), { trusted }), "download_refused", /from https: to http:/);
      assert.equal(plain.requests.length, 0);
    });
  });
});

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const out: Buffer[] = [];
  for await (const chunk of chunks) out.push(Buffer.from(chunk));
  return Buffer.concat(out);
}
