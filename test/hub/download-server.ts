/**
 * The server of the stand-in hub's firmware. It signs its URLs and lets them expire; faults may change each
 * answer before it is sent.
 */
import { createHmac, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { once } from "node:events";
import type { Socket } from "node:net";
import type { Clock } from "../../src/platform/clock.ts";
import { messageOf } from "../../src/platform/failure.ts";
import type { FaultBox } from "./faults.ts";
import type { Release } from "./releases.ts";

/** A download under way; faults change it before it is sent. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly release: Release;
  readonly clock: Clock;
  status: number;
  readonly headers: Record<string, string>;
  /** Offset in the file of the body's first byte. */
  startByte: number;
  body: AsyncIterable<Buffer>;
  /** Aborted when the connection has closed. */
  readonly closed: AbortSignal;
  /** Ends the connection with a TCP reset. */
  reset(): void;
  /** Puts bytes into the connection that are not TLS. */
  garble(): void;
}

/** One request that the download server answered. */
export interface DownloadEntry {
  readonly atMs: number;
  /** The path without the signature. */
  readonly path: string;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
  status: number;
  sentBytes: number;
  /** The answer has been sent or broken off. */
  done: boolean;
}

export interface DownloadServer {
  readonly entries: readonly DownloadEntry[];
  /** Serves a release from now on. */
  add(release: Release): void;
  /** A signed URL that ends after `lifetimeMs`. */
  sign(release: Release, baseUrl: string, lifetimeMs: number): string;
  handle(request: IncomingMessage, response: ServerResponse, raw: Socket | undefined): Promise<void>;
}

/**
 * Serves firmware as NervesHub's local store does (Range, ETag, 500 for a range past the end) behind
 * signed URLs as object stores have them: 401 without a signature, 403 once it has expired.
 */
export function createDownloadServer(options: {
  readonly clock: Clock;
  readonly nowMs: () => number;
  readonly faults: FaultBox;
  /** An answer has begun or is done. */
  readonly onChange: (entry: DownloadEntry) => void;
  /** Bytes were sent. */
  readonly onBytes: () => void;
}): DownloadServer {
  const { clock, nowMs, faults, onChange, onBytes } = options;
  const releases = new Map<string, Release>();
  const entries: DownloadEntry[] = [];
  const secret = randomBytes(32);
  const token = (path: string, expires: string): string =>
    createHmac("sha256", secret).update(`${path} ${expires}`).digest("hex");

  const refusal = (url: URL): number | undefined => {
    const expires = url.searchParams.get("expires") ?? "";
    if (url.searchParams.get("token") !== token(url.pathname, expires)) return 401;
    return Number(expires) * 1000 <= nowMs() ? 403 : undefined;
  };

  return {
    entries,
    add(release) {
      releases.set(release.urlPath, release);
    },
    sign(release, baseUrl, lifetimeMs) {
      const expires = String(Math.ceil((nowMs() + lifetimeMs) / 1000));
      return `${baseUrl}${release.urlPath}?token=${token(release.urlPath, expires)}&expires=${expires}`;
    },
    async handle(request, response, raw) {
      const url = new URL(request.url ?? "/", "http://hub");
      const release = releases.get(url.pathname);
      const entry: DownloadEntry = {
        atMs: nowMs(),
        path: url.pathname,
        range: request.headers.range,
        ifRange: header(request, "if-range"),
        status: 0,
        sentBytes: 0,
        done: false,
      };
      entries.push(entry);
      const status =
        request.method !== "GET" && request.method !== "HEAD"
          ? 405
          : release === undefined
            ? 404
            : refusal(url);
      if (release === undefined || status !== undefined) {
        entry.status = status ?? 404;
        answer(response, entry.status);
      } else {
        const closed = new AbortController();
        response.once("close", () => closed.abort());
        const exchange = open(request, release, clock, closed.signal, raw);
        faults.apply("download", exchange);
        entry.status = exchange.status;
        onChange(entry);
        await send(exchange, response, (bytes) => {
          entry.sentBytes += bytes;
          onBytes();
        });
      }
      entry.done = true;
      onChange(entry);
    },
  };
}

function open(
  request: IncomingMessage,
  release: Release,
  clock: Clock,
  closed: AbortSignal,
  raw: Socket | undefined,
): Exchange {
  const size = release.sizeBytes;
  const ifRange = header(request, "if-range");
  const wanted = ifRange === undefined || ifRange === release.etag ? parseRange(request, size) : undefined;
  const common = {
    "cache-control": "public",
    etag: release.etag,
    "content-type": "application/fwup",
    "accept-ranges": "bytes",
  };
  const shared = {
    request,
    release,
    clock,
    closed,
    reset: () => void raw?.resetAndDestroy(),
    garble: () => void raw?.write(randomBytes(100)),
  };
  if (wanted === "past the end") {
    return { ...shared, status: 500, headers: { "content-length": "0" }, startByte: 0, body: nothing() };
  }
  const { start, end } = wanted ?? { start: 0, end: size - 1 };
  const headers: Record<string, string> = { ...common, "content-length": String(end - start + 1) };
  if (wanted !== undefined) headers["content-range"] = `bytes ${start}-${end}/${size}`;
  return {
    ...shared,
    status: wanted === undefined ? 200 : 206,
    headers,
    startByte: start,
    body: readFile(release.path, start, end),
  };
}

/** A range of the request in bytes, both ends included; undefined when it asks for the whole file. */
function parseRange(
  request: IncomingMessage,
  size: number,
): { start: number; end: number } | "past the end" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "");
  const [, first = "", last = ""] = match ?? [];
  if (first === "" && last === "") return undefined;
  if (first === "") return { start: Math.max(size - Number(last), 0), end: size - 1 };
  const start = Number(first);
  if (start >= size) return "past the end";
  return { start, end: last === "" ? size - 1 : Math.min(Number(last), size - 1) };
}

/** The bytes of a file from `start` to `end`, both included. */
export async function* readFile(path: string, start: number, end: number): AsyncGenerator<Buffer> {
  if (end < start) return;
  for await (const chunk of createReadStream(path, { start, end })) yield chunk as Buffer;
}

// eslint-disable-next-line @typescript-eslint/require-await -- a body is an async iterable, also an empty one
async function* nothing(): AsyncGenerator<Buffer> {
  yield* [];
}

async function send(
  exchange: Exchange,
  response: ServerResponse,
  count: (bytes: number) => void,
): Promise<void> {
  response.writeHead(exchange.status, exchange.headers);
  let sent = 0;
  if (exchange.request.method !== "HEAD") {
    try {
      for await (const chunk of exchange.body) {
        if (exchange.closed.aborted) return;
        sent += chunk.length;
        count(chunk.length);
        if (!response.write(chunk)) await once(response, "drain", { signal: exchange.closed });
      }
    } catch (error) {
      if (exchange.closed.aborted) return; // the device hung up, so no failure matters any more
      response.destroy(new Error(`the firmware can't be read: ${messageOf(error)}`));
      return;
    }
  }
  const { socket } = response;
  response.end();
  // A body of another length than announced: only the end of the connection can show it.
  if (exchange.request.method !== "HEAD" && sent !== Number(exchange.headers["content-length"]))
    socket?.end();
}

function answer(response: ServerResponse, status: number): void {
  response.writeHead(status, { "content-length": "0" });
  response.end();
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === "string" ? value : undefined;
}
