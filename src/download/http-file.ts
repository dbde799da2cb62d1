/** A file on an HTTP server, opened at a position; see RFC 9110 for ranges and their conditions. */
import type { Dispatcher } from "undici";
import type { Clock } from "../platform/clock.ts";
import { openTunnel } from "../platform/proxy-tunnel.ts";
import type { ProxyChoice } from "../platform/proxy.ts";
import { Failure } from "../platform/failure.ts";
import { LineFault } from "./retries.ts";

export interface HttpOptions {
  /** PEM; whom to trust instead of Node's built-in list. */
  readonly ca?: readonly string[] | undefined;
  readonly clock: Clock;
  readonly proxyFor?: ProxyChoice | undefined;
  /** How many at once to one server. Default: 1. */
  readonly connections?: number;
}

/** Connections that go with one download. */
export interface Http {
  get(url: URL, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<HttpAnswer>;
  /** Ends all connections at once. */
  close(): Promise<void>;
}

type HttpAnswer = Dispatcher.ResponseData;
type Body = HttpAnswer["body"];

/** Which state of the file the bytes so far are of. */
export interface FileVersion {
  readonly etag: string | null;
  /** Null when the server didn't say. */
  readonly totalBytes: number | null;
}

/** Whether the bytes of one state can't be joined to those of the other. */
export function isAnother(now: FileVersion, before: FileVersion): boolean {
  const differ = <T>(a: T | null, b: T | null): boolean => a !== null && b !== null && a !== b;
  const opaque = (etag: string | null): string | null => etag?.replace(/^W\//, "") ?? null;
  return differ(opaque(now.etag), opaque(before.etag)) || differ(now.totalBytes, before.totalBytes);
}

export interface OpenFile {
  /** Where the body starts in the file: the position asked for, or 0 when the server gives no ranges. */
  readonly start: number;
  readonly version: FileVersion;
  readonly body: Body;
}

export interface OpenRequest {
  readonly url: URL;
  readonly offset: number;
  /** The position after the last byte wanted; null for the file's end. */
  readonly end: number | null;
  /** The state that unproven bytes before `offset` are of; null when there are none. */
  readonly version: FileVersion | null;
  /** Sent to the URL's own origin only. */
  readonly headers: Readonly<Record<string, string>>;
  /** Wall clock in ms, for a Retry-After that is a date. */
  readonly nowMs: number;
  readonly signal: AbortSignal;
}

const CONNECT_TIMEOUT_MS = 30_000;
const MAX_REDIRECTS = 5;

/** undici takes some MB, so it is loaded only when there is something to fetch. */
export async function openHttp(options: HttpOptions): Promise<Http> {
  const { ca, clock, proxyFor, connections = 1 } = options;
  const { Agent, buildConnector, request } = await import("undici");
  const connect = buildConnector({
    timeout: CONNECT_TIMEOUT_MS,
    rejectUnauthorized: true, // the environment and NODE_OPTIONS change the defaults
    minVersion: "TLSv1.2",
    ...(ca === undefined ? {} : { ca: [...ca] }),
  });
  const over = new AbortController();
  const tunnelOptions = { clock, timeoutMs: CONNECT_TIMEOUT_MS, signal: over.signal };
  const dispatcher = new Agent({
    connections,
    headersTimeout: 0, // the caller watches, on its own clock
    bodyTimeout: 0,
    connect(target, callback) {
      const url = new URL(`${target.protocol}//${target.host ?? target.hostname}`);
      const proxy = proxyFor?.(url);
      if (proxy === undefined) {
        connect(target, callback);
        return;
      }
      openTunnel(proxy, url, tunnelOptions).then(
        (socket) => {
          if (url.protocol === "http:") callback(null, socket);
          else connect({ ...target, httpSocket: socket }, callback);
        },
        (error: unknown) => callback(error as Error, null),
      );
    },
  });
  return {
    get: async (url, headers, signal) => request(url, { dispatcher, headers, signal }),
    async close() {
      over.abort(new Error("the download has ended"));
      await dispatcher.destroy();
    },
  };
}

/**
 * Opens a file at a position, following redirects.
 * @throws LineFault when another attempt may succeed; Failure `url_expired` or
 *   `download_refused` when none will; errors of undici
 *   and of the system for faults on the line; the signal's reason
 */
export async function openFile(http: Http, request: OpenRequest): Promise<OpenFile> {
  let { url } = request;
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
    const answer = await http.get(url, requestHeaders(request, url), request.signal);
    try {
      const next = redirectOf(answer, url);
      if (next === undefined) return accept(answer, request, url);
      discard(answer.body);
      url = next;
    } catch (error) {
      discard(answer.body);
      throw error;
    }
  }
  throw new Failure("download_refused", `${request.url.host} redirects more than ${MAX_REDIRECTS} times`);
}

/** Ends a body that is not to be read (on). */
export function discard(body: Body): void {
  body.on("error", () => undefined); // that it was ended early is no news
  body.destroy();
}

function requestHeaders(
  { url: first, offset, end, version, headers }: OpenRequest,
  url: URL,
): Record<string, string> {
  const ifRange = version?.etag ?? null;
  const partial = offset > 0 || end !== null;
  return {
    ...(url.origin === first.origin ? headers : {}),
    "accept-encoding": "identity",
    ...(partial ? { range: `bytes=${offset}-${end === null ? "" : end - 1}` } : {}),
    // RFC 9110 §13.1.5: a weak validator must not be sent here; it is compared on arrival instead.
    ...(partial && ifRange !== null && !ifRange.startsWith("W/") ? { "if-range": ifRange } : {}),
  };
}

function redirectOf({ statusCode, headers }: HttpAnswer, from: URL): URL | undefined {
  if (![301, 302, 303, 307, 308].includes(statusCode)) return undefined;
  const location = single(headers["location"]);
  if (location === undefined || !URL.canParse(location, from.href)) {
    throw new Failure("download_refused", `${from.host} redirects to nowhere`);
  }
  const url = new URL(location, from);
  const allowed = from.protocol === "https:" ? ["https:"] : ["https:", "http:"];
  if (allowed.includes(url.protocol)) return url;
  throw new Failure("download_refused", `${from.host} redirects from ${from.protocol} to ${url.protocol}`);
}

function accept(answer: HttpAnswer, request: OpenRequest, { host }: URL): OpenFile {
  const { statusCode, headers, body } = answer;
  if (statusCode !== 200 && statusCode !== 206) throw faultOf(answer, request, host);
  const encoding = single(headers["content-encoding"]) ?? "identity";
  if (encoding !== "identity") {
    throw new Failure("download_refused", `${host} sends the file with content-encoding ${encoding}`);
  }
  const etag = single(headers["etag"]) ?? null;
  const length = wholeNumber(single(headers["content-length"]));
  if (statusCode === 200) return { start: 0, version: { etag, totalBytes: length }, body };

  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/i.exec(single(headers["content-range"]) ?? "");
  const start = wholeNumber(range?.[1]);
  const asked = request.offset > 0 || request.end !== null;
  if (!asked || start !== request.offset) {
    throw new LineFault(`${host} sends another range than it was asked for`);
  }
  return { start, version: { etag, totalBytes: wholeNumber(range?.[2]) }, body };
}

function faultOf({ statusCode, headers }: HttpAnswer, request: OpenRequest, host: string): Error {
  const text = `${host} answers HTTP ${statusCode}`;
  if ([401, 403, 404, 410].includes(statusCode)) {
    return new Failure("url_expired", `${text}: the firmware's URL has expired or its file is gone`);
  }
  if (statusCode >= 500 || [408, 416, 425, 429].includes(statusCode)) {
    const pastEnd = statusCode === 416 && request.offset > 0;
    return new LineFault(text, { retryAfterMs: retryAfterMs(headers, request.nowMs), pastEnd });
  }
  return new Failure("download_refused", text);
}

/** RFC 9110 §10.2.3: seconds, or a date, which is taken relative to the server's own. */
function retryAfterMs(headers: HttpAnswer["headers"], nowMs: number): number {
  const value = single(headers["retry-after"]) ?? "";
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const atMs = Date.parse(value);
  if (Number.isNaN(atMs)) return 0;
  const serverMs = Date.parse(single(headers["date"]) ?? "");
  return Math.max(0, atMs - (Number.isNaN(serverMs) ? nowMs : serverMs));
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

function wholeNumber(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : null;
}
