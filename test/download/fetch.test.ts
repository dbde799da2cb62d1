/**
 * Downloads through the cache on the disk: after a cut, a restart or a power cut, no proven byte is fetched
 * again.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { mkdir, mkdtemp, open, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { FirmwareCache } from "../../src/download/cache.ts";
import { fetchFirmware, type FetchOptions } from "../../src/download/fetch.ts";
import { PART_BYTES, type ExpectedFile } from "../../src/download/verify.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { announce, someBytes } from "./announce.ts";
import { give, serve, status, type Answer, type FileServer } from "./file-server.ts";
import { eventually } from "../eventually.ts";
import { watchForLeftovers } from "./left-behind.ts";
import { retryLog } from "./retry-log.ts";

const FILE = someBytes(6 * PART_BYTES + 300_000);
const ANNOUNCED = announce(FILE);
const WHOLE: ExpectedFile = { ...ANNOUNCED, parts: null };

describe("firmware fetched through the cache", () => {
  let dir: string;
  let folder: string;
  let clock: FakeClock;
  let lines: string[];
  let servers: FileServer[];
  let nothingIsLeft: () => Promise<void>;

  beforeEach(async () => {
    await import("undici"); // loaded here, so that what it keeps open does not count as left behind
    dir = await mkdtemp(join(tmpdir(), "hublink-cache-"));
    folder = join(dir, "firmware");
    nothingIsLeft = watchForLeftovers();
    clock = new FakeClock();
    lines = [];
    servers = [];
  });

  afterEach(async () => {
    await Promise.all(servers.map(async (server) => server.close()));
    assert.equal(clock.pending, 0, "a timer was left behind");
    await nothingIsLeft();
    await rm(dir, { recursive: true });
  });

  const server = async (...answers: Answer[]): Promise<FileServer> => {
    const started = await serve(answers);
    servers.push(started);
    return started;
  };

  const open_ = ({ origin }: FileServer, changes: Partial<FetchOptions> = {}): AsyncGenerator<Uint8Array> =>
    fetchFirmware({
      url: () => `${origin}/fw?sig=secret`,
      uuid: "u2",
      expected: ANNOUNCED,
      mode: "cache",
      cache: new FirmwareCache(folder, clock),
      connections: 1,
      clock,
      retry: {
        attempts: 3,
        delayMs: 15_000,
        idleTimeoutMs: 60_000,
        totalTimeoutMs: 86_400_000,
        minRateBytesS: 0,
      },
      log: retryLog(lines, ({ delayMs }) => void clock.advance(delayMs)),
      random: () => 0,
      ...changes,
    });
  const fetchFrom = async (origin: FileServer, changes?: Partial<FetchOptions>): Promise<Buffer> => {
    const out: Buffer[] = [];
    for await (const chunk of open_(origin, changes)) out.push(Buffer.from(chunk));
    return Buffer.concat(out);
  };
  /** Stops the agent once `bytes` bytes are in the cache. @returns the number of bytes there */
  const stopAt = async (
    origin: FileServer,
    bytes: number,
    changes: Partial<FetchOptions> = {},
  ): Promise<number> => {
    const abort = new AbortController();
    let there = 0;
    const onCached = (count: number): void => {
      there = count;
      if (count >= bytes) abort.abort(new Error("stop"));
    };
    await assert.rejects(fetchFrom(origin, { ...changes, signal: abort.signal, onCached }), /stop/);
    return there;
  };
  const flip = async (offset: number): Promise<void> => {
    const file = await open(join(folder, "u2.fw.part"), "r+");
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, offset);
    await file.write(Buffer.from([buffer.readUInt8() ^ 0xff]), 0, 1, offset);
    await file.close();
  };
  const ranges = ({ requests }: FileServer): (string | undefined)[] =>
    requests.map(({ headers }) => headers.range);

  it("is not written through a link that somebody put in its place", async () => {
    const victim = join(dir, "shadow");
    await mkdir(folder);
    await writeFile(victim, "root's");
    await stopAt(await server(give(FILE)), PART_BYTES); // leaves a sidecar: without one the link is removed
    await rm(join(folder, "u2.fw.part"));
    await symlink(victim, join(folder, "u2.fw.part"));
    assert.ok((await fetchFrom(await server(give(FILE)))).equals(FILE));
    assert.equal(await readFile(victim, "utf8"), "root's");
  });

  it("is complete and proven before fwup gets its first byte", async () => {
    const origin = await server(give(FILE));
    const seen: number[] = [];
    const bytes = open_(origin, { onCached: (count) => seen.push(count) });
    await bytes.next();
    assert.equal(seen.at(-1), FILE.length);
    await bytes.return(undefined);
    assert.ok((await fetchFrom(origin)).equals(FILE));
    assert.equal(origin.requests.length, 1, "the cached file is not fetched again");
  });

  it("comes over several connections at once, each part once", async () => {
    const origin = await server(give(FILE));
    assert.ok((await fetchFrom(origin, { connections: 3 })).equals(FILE));
    assert.ok(origin.requests.length >= 3);
    const bytes = ranges(origin).reduce((sum, range) => {
      const [, first = "0", last = "0"] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? [];
      return sum + Number(last) + 1 - Number(first);
    }, 0);
    assert.equal(bytes, FILE.length);
  });

  it("comes over one connection when the server gives no ranges", async () => {
    const origin = await server(give(FILE, { ranges: false }));
    assert.ok((await fetchFrom(origin, { connections: 3 })).equals(FILE));
    assert.match(lines.join("\n"), /gives no ranges/);
  });

  it("asks 11, 34: fetches each byte once despite 20 cuts, half of them stops of the agent", async () => {
    const big = someBytes(24 * PART_BYTES);
    const cutAfter = 1_100_000;
    let served = 0;
    let cuts = 0;
    const origin = await server((response, request) => {
      const left = big.length - Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
      cuts += 1;
      served += cuts <= 20 ? Math.min(cutAfter, left) : left;
      (cuts <= 20 ? give(big, { stopAfter: cutAfter, stop: "end" }) : give(big))(response, request);
    });
    const expected = announce(big);
    for (let stop = 1; stop <= 10; stop += 1) {
      const abort = new AbortController();
      const log = retryLog(lines, ({ delayMs }) => {
        if (cuts >= 2 * stop) abort.abort(new Error("stop"));
        void clock.advance(delayMs);
      });
      await assert.rejects(fetchFrom(origin, { expected, signal: abort.signal, log }), /stop/);
    }
    assert.ok((await fetchFrom(origin, { expected })).equals(big));
    assert.ok(cuts > 20);
    const ratio = served / big.length;
    assert.ok(ratio <= 1.05, `${ratio} bytes were fetched for each byte needed`);
  });

  it("asks 34: fetches each byte of a small file once despite 20 cuts", async () => {
    const small = someBytes(6_600_000);
    const cutAfter = 300_000;
    let served = 0;
    const origin = await server((response, request) => {
      const left = small.length - Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
      const cut = origin.requests.length <= 20;
      served += cut ? cutAfter : left;
      (cut ? give(small, { stopAfter: cutAfter, stop: "end" }) : give(small))(response, request);
    });
    assert.ok((await fetchFrom(origin, { expected: announce(small) })).equals(small));
    assert.equal(origin.requests.length, 21);
    const ratio = served / small.length;
    assert.ok(ratio <= 1.01, `${ratio} bytes were fetched for each byte needed`);
  });

  it("asks 9: goes on after a restart from the last proven byte, not from the end of the file on the disk", async () => {
    const origin = await server(give(FILE, { stopAfter: 3 * PART_BYTES + 1000, stop: "stall" }), give(FILE));
    await stopAt(origin, 3 * PART_BYTES + 1000);
    await flip(PART_BYTES + 7); // as a power cut may leave it
    assert.ok((await fetchFrom(origin)).equals(FILE));
    assert.deepEqual(ranges(origin).slice(1), [
      `bytes=${PART_BYTES}-${2 * PART_BYTES - 1}`,
      `bytes=${3 * PART_BYTES + 1000}-${FILE.length - 1}`,
    ]);
  });

  it("fetches a part again when a restart finds garbage in it", async () => {
    const origin = await server(give(FILE, { stopAfter: PART_BYTES + 5000, stop: "stall" }), give(FILE));
    await stopAt(origin, PART_BYTES + 5000);
    await flip(PART_BYTES + 7);
    assert.ok((await fetchFrom(origin)).equals(FILE));
    const end = FILE.length - 1;
    assert.deepEqual(ranges(origin).slice(1), [
      `bytes=${PART_BYTES + 5000}-${end}`,
      `bytes=${PART_BYTES}-${end}`,
    ]);
  });

  it("asks 10: goes on though the ETag changes, and fetches again only a part of two files", async () => {
    const stop = { stopAfter: PART_BYTES + 500_000, stop: "end" } as const;
    const nodes = await server(give(FILE, stop), give(FILE, { etag: '"two"' }));
    assert.ok((await fetchFrom(nodes)).equals(FILE));
    assert.equal(nodes.requests.length, 2);
    assert.ok(Number(/\d+/.exec(ranges(nodes)[1] ?? "")?.[0]) > PART_BYTES);
    await rm(folder, { recursive: true });
    const old = Buffer.from(FILE);
    old.fill(7, PART_BYTES);
    const changed = await server(give(old, stop), give(FILE, { etag: '"two"' }));
    assert.ok((await fetchFrom(changed)).equals(FILE));
    assert.equal(ranges(changed)[2], `bytes=${PART_BYTES}-${FILE.length - 1}`);
    assert.equal(changed.requests.length, 3);
  });

  it("takes no byte of an answer that is shorter than announced, as the login page of a network is", async () => {
    const page = Buffer.from("<html>Please log in</html>");
    const origin = await server(give(page), give(FILE));
    assert.ok((await fetchFrom(origin)).equals(FILE));
    assert.deepEqual(ranges(origin), [undefined, undefined]);
  });

  it("asks 4: goes on from a fresh URL where the old one ended", async () => {
    const stop = { stopAfter: PART_BYTES + 500_000, stop: "end" } as const;
    const origin = await server(give(FILE, stop), status(403), give(FILE));
    const renewUrl = async (): Promise<string> => Promise.resolve(`${origin.origin}/fresh?sig=secret`);
    assert.ok((await fetchFrom(origin, { renewUrl })).equals(FILE));
    assert.ok(Number(/\d+/.exec(ranges(origin)[2] ?? "")?.[0]) > PART_BYTES);
    assert.equal(origin.requests[2]?.path, "/fresh?sig=secret");
  });

  it("fails when a part is wrong on the server, or the file is too long", async () => {
    const wrong = Buffer.from(FILE);
    wrong.writeUInt8(wrong.readUInt8(9) ^ 1, 9);
    for (const [bytes, code] of [
      [wrong, "part_wrong"],
      [Buffer.concat([FILE, Buffer.alloc(PART_BYTES)]), "size_wrong"],
    ] as const) {
      const origin = await server(give(bytes));
      await assert.rejects(fetchFrom(origin), { code });
    }
    assert.deepEqual(readdirSync(folder), []);
  });

  describe("without announced parts", () => {
    it("goes on after a restart with the bytes that were flushed, whatever the ETag is", async () => {
      const origin = await server(
        give(FILE, { stopAfter: PART_BYTES + 5000, stop: "stall" }),
        give(FILE, { etag: 'W/"two"' }),
      );
      // Only flushed bytes count, and the clock must advance for a flush.
      const onCached = (): void => void clock.advance(6000);
      const abort = new AbortController();
      const stopped = fetchFrom(origin, {
        expected: WHOLE,
        signal: abort.signal,
        onCached: (count) => {
          onCached();
          if (count >= PART_BYTES) abort.abort(new Error("stop"));
        },
      });
      await assert.rejects(stopped, /stop/);
      assert.ok((await fetchFrom(origin, { expected: WHOLE })).equals(FILE));
      assert.equal(origin.requests[1]?.headers["if-range"], undefined);
      assert.ok(Number(/\d+/.exec(origin.requests[1]?.headers.range ?? "")?.[0]) > 0);
    });

    it("fetches no byte again after a restart", async () => {
      const origin = await server(give(FILE));
      const there = await stopAt(origin, 3 * PART_BYTES + 5000, { expected: WHOLE });
      assert.ok(there > 3 * PART_BYTES);
      assert.ok((await fetchFrom(origin, { expected: WHOLE })).equals(FILE));
      assert.deepEqual(ranges(origin), [undefined, `bytes=${there}-${FILE.length - 1}`]);
    });

    it("starts over when the file has changed, and once when its checksum is wrong", async () => {
      const other = someBytes(FILE.length, 1);
      const stop = { stopAfter: PART_BYTES + 5000, stop: "end" } as const;
      const changed = await server(give(other, { ...stop, etag: '"old"' }), give(FILE));
      assert.ok((await fetchFrom(changed, { expected: WHOLE })).equals(FILE));
      await rm(folder, { recursive: true });
      const once = await server(give(other), give(FILE));
      assert.ok((await fetchFrom(once, { expected: WHOLE })).equals(FILE));
      await rm(folder, { recursive: true });
      const wrong = await server(give(other));
      await assert.rejects(fetchFrom(wrong, { expected: WHOLE }), /SHA-256 is not the one/);
      assert.equal(wrong.requests.length, 2);
    });
  });

  describe("when the disk or the announcement prevents a cache", () => {
    it("asks 30: is streamed when the folder can't be made, and the log says why", async () => {
      await writeFile(folder, "");
      for (const mode of ["cache", "auto"] as const) {
        const origin = await server(give(FILE));
        assert.ok((await fetchFrom(origin, { mode })).equals(FILE));
      }
      assert.match(lines.join("\n"), /warn streaming the update: .*can't keep the download/);
    });

    it("is streamed when its size or its checksums are unknown", async () => {
      const origin = await server(give(FILE));
      const expected = { sizeBytes: null, checksum: null, parts: null };
      assert.ok((await fetchFrom(origin, { expected })).equals(FILE));
      assert.ok(!existsSync(folder));
    });

    it("asks 30, 31: streams only the rest when the disk fills up, and uses the cache again once there is room", async (t) => {
      const disk = join(dir, "disk");
      await mkdir(disk);
      try {
        execFileSync("mount", ["-t", "tmpfs", "-o", "size=14m", "tmpfs", disk], { stdio: "ignore" });
      } catch {
        t.skip("a small disk can't be mounted here");
        return;
      }
      try {
        const cache = new FirmwareCache(join(disk, "firmware"), clock);
        const stop = { stopAfter: 3 * PART_BYTES + 500_000, stop: "end" } as const;
        const origin = await server(give(FILE, stop), give(FILE));
        const log = retryLog(lines, ({ delayMs }) => {
          execFileSync("sh", ["-c", `cat /dev/zero > ${disk}/other 2>&1 || true`], { stdio: "ignore" });
          void clock.advance(delayMs);
        });
        assert.ok((await fetchFrom(origin, { cache, log })).equals(FILE));
        assert.match(lines.join("\n"), /streaming the rest of the update: .*ENOSPC/);
        assert.match(ranges(origin).at(-1) ?? "", new RegExp(`^bytes=${3 * PART_BYTES}-`));

        const full = await server(give(FILE));
        assert.ok((await fetchFrom(full, { cache, uuid: "u3" })).equals(FILE));
        assert.match(lines.at(-1) ?? "", /streaming the update: .* MiB free, .* needed/);

        await rm(join(disk, "other"));
        const roomy = await server(give(FILE));
        assert.ok((await fetchFrom(roomy, { cache, uuid: "u3" })).equals(FILE));
        assert.ok((await fetchFrom(roomy, { cache, uuid: "u3" })).equals(FILE));
        assert.equal(roomy.requests.length, 1);
      } finally {
        execFileSync("umount", [disk]);
      }
    });

    it("fetches a part again that has changed in the cache after it was proven", async () => {
      const origin = await server(give(FILE));
      const chunks: Buffer[] = [];
      const bytes = open_(origin);
      chunks.push(Buffer.from((await bytes.next()).value as Uint8Array));
      await flip(4 * PART_BYTES + 7);
      for await (const chunk of bytes) chunks.push(Buffer.from(chunk));
      assert.ok(Buffer.concat(chunks).equals(FILE));
      assert.deepEqual(ranges(origin), [undefined, `bytes=${4 * PART_BYTES}-${5 * PART_BYTES - 1}`]);
    });
  });

  describe("in its folder", () => {
    it("keeps one firmware, and leaves other files alone", async () => {
      const origin = await server(give(FILE));
      await fetchFrom(origin);
      await writeFile(join(folder, "notes.txt"), "mine");
      await fetchFrom(origin, { uuid: "u3" });
      assert.deepEqual(readdirSync(folder).sort(), ["notes.txt", "u3.fw.json", "u3.fw.part"]);
      await new FirmwareCache(folder, clock).remove("u3");
      assert.deepEqual(readdirSync(folder), ["notes.txt"]);
    });

    it("writes nothing outside of it, also for a uuid like ../../escaped", async () => {
      const origin = await server(give(FILE));
      await fetchFrom(origin, { uuid: "../../escaped" });
      assert.deepEqual(readdirSync(dir), ["firmware"]);
    });

    it("starts over when the sidecar is damaged or belongs to another file", async () => {
      const origin = await server(give(FILE));
      await fetchFrom(origin);
      await writeFile(join(folder, "u2.fw.json"), "{");
      assert.ok((await fetchFrom(origin)).equals(FILE));
      const other = someBytes(2 * PART_BYTES, 3);
      assert.ok((await fetchFrom(await server(give(other)), { expected: announce(other) })).equals(other));
      assert.equal(origin.requests.length, 2);
    });
  });

  it("closes its connections when it is aborted", async () => {
    const origin = await server(give(FILE, { stopAfter: 100_000, stop: "stall" }));
    await stopAt(origin, 100_000, { connections: 3 });
    await eventually(() => origin.connections === 0, "its connections are closed");
  });
});
