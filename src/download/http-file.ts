/** A file on an HTTP server, opened at a position; see RFC 9110 for ranges and their conditions. */
import type { Dispatcher } from "undici";
import type { Clock } from "../platform/clock.ts";
import { openTunnel } from "../platform/proxy-tunnel.ts";
import { retryAfterMs } from "../platform/pace.ts";
import type { ProxyChoice } from "../platform/proxy.ts";
import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import { locationUrl } from "../platform/text.ts";
import { VERSION } from "../version.ts";
import { LineFault } from "./retries.ts";
import type { ExpectedFile } from "./verify.ts";

/** Reads the CA certificates to trust, PEM; at each download, since the files may change. */
export type Trusted = () => Promise<readonly string[]>;

export interface HttpOptions {
  /** Reads whom to trust instead of Node's built-in list, PEM. */
  readonly trusted?: Trusted | undefined;
  readonly clock: Clock;
  readonly proxyFor?: ProxyChoice | undefined;
  /** Which URLs may be fetched, redirects included. Default: each. */
  readonly mayFetch?: ((url: URL) => boolean) | undefined;
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

/**
 * An answer that is shorter than announced is not the file but, for example, the login page of a network. That is
 * no fault of the firmware's, and another attempt may get through.
 * @throws LineFault
 */
export function requireLength({ totalBytes }: FileVersion, { sizeBytes }: ExpectedFile): void {
  if (totalBytes === null || sizeBytes === null || totalBytes >= sizeBytes) return;
  throw new LineFault(`the server sends ${totalBytes} bytes, announced were ${sizeBytes}`);
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
/** For one of a name's addresses. Node's 250 ms let no connection come about over a satellite. */
const ADDRESS_TIMEOUT_MS = 5000;
/** Firewalls refuse requests that do not say what sends them. */
const USER_AGENT = `hublink/${VERSION}`;
/** Content codings that encode nothing, as proxies and S3 write them. The bytes are proven in any case. */
const NOT_ENCODED: ReadonlySet<string> = new Set(["", "identity", "none", "aws-chunked"]);
/** More than an error of S3 takes. */
const ERROR_BYTES = 4096;
const MAX_REDIRECTS = 5;

/** undici takes some MB, so it is loaded only when there is something to fetch. */
export async function openHttp(options: HttpOptions): Promise<Http> {
  const { trusted, clock, proxyFor, mayFetch, connections = 1 } = options;
  const ca = await trusted?.();
  const { Agent, buildConnector, request } = await import("undici");
  const connect = buildConnector({
    timeout: CONNECT_TIMEOUT_MS,
    autoSelectFamilyAttemptTimeout: ADDRESS_TIMEOUT_MS,
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
    async get(url, headers, signal) {
      if (mayFetch?.(url) === false) {
        const text = `no file is fetched from ${url.host}, which firmware.url_hosts does not name`;
        throw new Failure("host_refused", text);
      }
      return await request(url, { dispatcher, headers, signal });
    },
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
    const answer = await http
      .get(url, requestHeaders(request, url), request.signal)
      .catch((error: unknown) => {
        request.signal.throwIfAborted();
        throw faultOnTheWay(error, url);
      });
    try {
      const next = redirectOf(answer, url);
      if (next === undefined) return await accept(answer, request, url);
      discard(answer.body);
      url = next;
    } catch (error) {
      discard(answer.body);
      throw error;
    }
  }
  throw new Failure("download_refused", `${request.url.host} redirects more than ${MAX_REDIRECTS} times`);
}

/** The meaning of errors of DNS, TCP and TLS, for the person who reads why a download waits. */
const MEANINGS: Readonly<Record<string, string>> = {
  ENOTFOUND: "the name does not resolve",
  EAI_AGAIN: "no answer from DNS",
  ECONNREFUSED: "nothing listens there",
  ECONNRESET: "the connection was reset",
  UND_ERR_SOCKET: "the connection was closed",
  ETIMEDOUT: "no answer",
  UND_ERR_CONNECT_TIMEOUT: "no answer",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "no network",
  EPROTO: "no TLS connection comes about",
  CERT_HAS_EXPIRED: "its certificate has expired, or the board's clock is ahead",
  CERT_NOT_YET_VALID: "its certificate is not yet valid, or the board's clock is behind",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name",
};
/** Node's codes for a certificate whose CA is not trusted. */
const UNTRUSTED: ReadonlySet<string> = new Set([
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
]);

/** What ended a request before its answer, as a fault that names the server. */
function faultOnTheWay(error: unknown, { host }: URL): unknown {
  // When a name has several addresses, Node puts the errors of all into one; the first stands for them.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const code = systemCode(first) ?? systemCode(error);
  if (code === undefined) return error;
  const meaning = UNTRUSTED.has(code)
    ? "its certificate is not signed by a CA this board trusts; see firmware.ca_file"
    : (MEANINGS[code] ?? messageOf(first));
  return new LineFault(`${host}: ${meaning} (${code})`, { cause: error });
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
    "user-agent": USER_AGENT,
    "accept-encoding": "identity",
    ...(partial ? { range: `bytes=${offset}-${end === null ? "" : end - 1}` } : {}),
    // RFC 9110 §13.1.5: a weak validator must not be sent here; it is compared on arrival instead.
    ...(partial && ifRange !== null && !ifRange.startsWith("W/") ? { "if-range": ifRange } : {}),
  };
}

function redirectOf({ statusCode, headers }: HttpAnswer, from: URL): URL | undefined {
  if (![301, 302, 303, 307, 308].includes(statusCode)) return undefined;
  const location = single(headers["location"]);
  const url = location === undefined ? undefined : locationUrl(location, from);
  if (url === undefined) throw new Failure("download_refused", `${from.host} redirects to nowhere`);
  const allowed = from.protocol === "https:" ? ["https:"] : ["https:", "http:"];
  if (allowed.includes(url.protocol)) return url;
  throw new Failure("download_refused", `${from.host} redirects from ${from.protocol} to ${url.protocol}`);
}

async function accept(answer: HttpAnswer, request: OpenRequest, { host }: URL): Promise<OpenFile> {
  const { statusCode, headers, body } = answer;
  // 203 is 200 through a proxy that may have changed something; what counts is that the bytes are proven.
  if (![200, 203, 206].includes(statusCode)) throw await faultOf(answer, request, host);
  const encoding = single(headers["content-encoding"]) ?? "";
  if (!encoding.split(",").every((coding) => NOT_ENCODED.has(coding.trim().toLowerCase()))) {
    throw new Failure("download_refused", `${host} sends the file with content-encoding ${encoding}`);
  }
  const etag = single(headers["etag"]) ?? null;
  const length = wholeNumber(single(headers["content-length"]));
  if (statusCode !== 206) return { start: 0, version: { etag, totalBytes: length }, body };

  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/i.exec(single(headers["content-range"]) ?? "");
  const start = wholeNumber(range?.[1]);
  // Some servers give the range from 0 also when none was asked for.
  if (start !== request.offset) {
    throw new LineFault(`${host} sends another range than it was asked for`);
  }
  return { start, version: { etag, totalBytes: wholeNumber(range?.[2]) }, body };
}

async function faultOf(
  { statusCode, headers, body }: HttpAnswer,
  request: OpenRequest,
  host: string,
): Promise<Error> {
  const text = `${host} answers HTTP ${statusCode}`;
  // S3 answers so when a URL was signed with credentials that have expired since.
  const expired = statusCode === 400 && /<Code>ExpiredToken<\/Code>/.test(await headOf(body));
  if (expired || [401, 403, 404, 410].includes(statusCode)) {
    return new Failure("url_expired", `${text}: the firmware's URL has expired or its file is gone`);
  }
  if (statusCode >= 500 || [408, 416, 421, 425, 429].includes(statusCode)) {
    const askedMs = retryAfterMs(single(headers["retry-after"]), single(headers["date"]), request.nowMs);
    const pastEnd = statusCode === 416 && request.offset > 0;
    return new LineFault(text, { retryAfterMs: askedMs, pastEnd });
  }
  return new Failure("download_refused", text);
}

/** The first bytes of an answer that is not the file. */
async function headOf(body: Body): Promise<string> {
  let head = Buffer.alloc(0);
  for await (const chunk of body) {
    head = Buffer.concat([head, chunk as Buffer]);
    if (head.length >= ERROR_BYTES) break;
  }
  return head.toString("latin1", 0, ERROR_BYTES);
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

function wholeNumber(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : null;
}
