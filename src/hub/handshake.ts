/**
 * Opening one WebSocket: directly or through a proxy, with TLS in this process or in a helper, resuming the last
 * TLS session where the server lets it. Nothing is reused between attempts but that session: a board whose
 * certificate or DNS changes must not need a restart.
 */
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from "node:http";
import { isIP, type Socket } from "node:net";
import {
  type ConnectionOptions,
  connect as connectTls,
  type PeerCertificate,
  type SecureContext,
  TLSSocket,
} from "node:tls";
import { WebSocket } from "ws";
import { type Clock, LATEST_DATE_MS, unlessAborted, within } from "../platform/clock.ts";
import { Failure, systemCode } from "../platform/failure.ts";
import { ADDRESSES, openTunnel } from "../platform/proxy-tunnel.ts";
import { hostOf, type Proxy, type ProxyChoice } from "../platform/proxy.ts";
import { shortened } from "../platform/text.ts";
import { VERSION } from "../version.ts";
import { MAX_FRAME_BYTES } from "./serializer.ts";
import { type HelperTls, startTlsHelper } from "./tls-helper.ts";

/** Characters of the server's own words; a header may hold 16 KB. */
const MAX_REASON = 256;

/** TLS in this process. */
export interface DirectTls {
  readonly kind: "direct";
  /** Trust, client certificate and key; made once, since making it takes a Pi Zero long. */
  readonly secureContext: SecureContext;
  /** The CAs to trust, PEM; undefined where the dates of the host's certificate are of no interest. */
  readonly ca?: readonly string[];
  /** SNI and the name the certificate must carry, when that is not the URL's host. */
  readonly servername?: string;
}

/** One attempt to open a WebSocket. */
export interface HandshakeRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Also for a ws:// URL, which may be redirected to wss://. Undefined: Node's own trust and no certificate. */
  readonly tls: DirectTls | HelperTls | undefined;
  readonly proxyFor?: ProxyChoice;
  /** Offers permessage-deflate. */
  readonly compress: boolean;
  /** The time from the first packet to the 101. */
  readonly timeoutMs: number;
}

/** The server answered the handshake with something other than 101. */
export class HandshakeRefused extends Failure {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The server's wall-clock time in ms, the only hint a board without a clock may get. */
  readonly dateMs: number | undefined;

  constructor(status: number, headers: IncomingHttpHeaders) {
    // NervesHub explains itself in this header (device_socket.ex); the body says the same or nothing.
    const reason = headers["nh-connection-error-reason"];
    super(
      "hub_refused",
      typeof reason === "string"
        ? `refused with ${status}: ${shortened(reason, MAX_REASON)}`
        : `refused with ${status}`,
    );
    this.name = "HandshakeRefused";
    this.status = status;
    this.headers = headers;
    this.dateMs = serverTime(headers);
  }
}

export interface OpenedWebSocket {
  readonly webSocket: WebSocket;
  /** This end's IP address, which names the network interface in use. */
  readonly localAddress: string | undefined;
  /** The server's wall-clock time in ms; NaN when its `date` can't be read. */
  readonly dateMs: number | undefined;
  /** When the server's certificate, which was verified, expires; ms since 1970. Undefined when it is not known. */
  readonly certificateEndsMs: number | undefined;
}

/**
 * Opens a new WebSocket and pauses it. Does not follow redirects: they are thrown as {@link HandshakeRefused}.
 * @throws HandshakeRefused; another Failure; the system's or TLS's error; the signal's reason
 */
export async function openWebSocket(
  request: HandshakeRequest,
  clock: Clock,
  signal: AbortSignal,
): Promise<OpenedWebSocket> {
  signal.throwIfAborted();
  const over = new AbortController();
  const proxy = request.proxyFor?.(request.url);
  const tunnel =
    proxy &&
    (async (): Promise<Socket> =>
      openTunnel(proxy, request.url, { clock, timeoutMs: request.timeoutMs, signal: over.signal }));
  const route = tlsRoute(request, proxy);
  const webSocket = new WebSocket(request.url, {
    headers: { "user-agent": `hublink/${VERSION}`, ...request.headers },
    maxPayload: MAX_FRAME_BYTES,
    // No context takeover: a kept window costs some 300 KiB for each direction, much for a Pi Zero.
    perMessageDeflate: request.compress && {
      clientNoContextTakeover: true,
      serverNoContextTakeover: true,
      threshold: 1024,
    },
    rejectUnauthorized: true, // the default, but NODE_TLS_REJECT_UNAUTHORIZED=0 changes that
    ...ADDRESSES,
    ...(tunnel && throughTunnel(tunnel, request.url)),
    ...route.options,
  });
  let localAddress: string | undefined;
  let dateMs: number | undefined;
  let certificateEndsMs: number | undefined;
  webSocket.on("upgrade", (response: IncomingMessage) => {
    localAddress = route.localAddress() ?? response.socket.localAddress;
    const { date } = response.headers;
    dateMs = date === undefined ? undefined : Date.parse(date);
    certificateEndsMs = certificateEnd(response.socket) ?? route.resumed?.certificateEndsMs;
  });
  try {
    const answered = unlessAborted(answer(webSocket), signal);
    if ((await within(clock, request.timeoutMs, answered, undefined)) === undefined)
      throw new Failure("hub_unreachable", `no answer within ${request.timeoutMs / 1000} s`);
  } catch (error) {
    webSocket.terminate();
    over.abort(error);
    if (route.failed(error)) return await openWebSocket(request, clock, signal);
    throw error;
  }
  return { webSocket, localAddress, dateMs, certificateEndsMs };
}

/** Settles with the server's answer; the socket is then paused, or what comes with the 101 would be lost. */
async function answer(webSocket: WebSocket): Promise<"open"> {
  return await new Promise((resolve, reject) => {
    webSocket.on("error", reject);
    webSocket.once("open", () => {
      webSocket.pause();
      resolve("open");
    });
    webSocket.once("unexpected-response", (httpRequest: ClientRequest, response: IncomingMessage) => {
      response.resume();
      reject(new HandshakeRefused(response.statusCode ?? 0, response.headers));
      httpRequest.destroy();
    });
  });
}

/** How this attempt's TLS is done. */
interface TlsRoute {
  /** For ws, which passes them to Node's request and tls.connect; its own types lack some of them. */
  readonly options: object;
  /** Only the helper knows it; undefined for TLS in this process. */
  readonly localAddress: () => string | undefined;
  /** The session that is offered. If the server takes it, no certificate is shown. */
  readonly resumed?: KeptSession;
  /** Called after a failure; true when a second attempt, at once and done differently, may succeed. */
  readonly failed: (error: unknown) => boolean;
}

const PLAIN: TlsRoute = { options: {}, localAddress: () => undefined, failed: () => false };

function tlsRoute({ url, tls }: HandshakeRequest, proxy: Proxy | undefined): TlsRoute {
  if (tls === undefined || url.protocol === "ws:") return PLAIN;
  if (tls.kind === "helper") {
    const helper = startTlsHelper(hostOf(url.hostname), Number(url.port || 443), tls, proxy);
    const options = { createConnection: () => helper.stream };
    return { ...PLAIN, options, localAddress: helper.localAddress };
  }
  const { secureContext, servername } = tls;
  const name = `${servername ?? ""} ${url.host}`;
  const resumed = resumableSession(secureContext, name);
  const options = {
    secureContext,
    ...(servername !== undefined && { servername }),
    ...(resumed !== undefined && { session: resumed.session }),
    finishRequest(request: ClientRequest) {
      request.once("socket", (socket) => {
        if (socket instanceof TLSSocket) rememberSessions(secureContext, name, socket, resumed);
      });
      request.end();
    },
  };
  return {
    ...PLAIN,
    options,
    ...(resumed !== undefined && { resumed }),
    failed(error) {
      if (resumed === undefined || !isTlsError(error)) {
        forgetSession(secureContext);
        return false;
      }
      refuseSessions(secureContext);
      return true;
    },
  };
}

/** The option by which Node's request asks for its connection; it passes on the TLS options, ws's and ours. */
function throughTunnel(tunnel: () => Promise<Socket>, url: URL): object {
  const host = hostOf(url.hostname);
  const createConnection = (
    options: ConnectionOptions,
    done: (error: Error | null, socket?: Socket) => void,
  ): void => {
    tunnel().then(
      (socket) => {
        if (url.protocol === "ws:") done(null, socket);
        else done(null, connectTls({ servername: isIP(host) === 0 ? host : "", ...options, socket }));
      },
      (error: unknown) => done(error as Error),
    );
  };
  return { createConnection };
}

/** Node's codes for TLS alerts and other ends of a TLS handshake. */
function isTlsError(error: unknown): boolean {
  const code = systemCode(error) ?? "";
  return code === "EPROTO" || code.startsWith("ERR_SSL");
}

/** When the host's certificate expires, ms since 1970; undefined where TLS is not done in this process. */
function certificateEnd(socket: Socket): number | undefined {
  if (!(socket instanceof TLSSocket)) return undefined;
  // getPeerX509Certificate() would remove the certificate from the connection (seen in Node 20). Node's types promise
  // one, but a resumed session has none.
  const shown: Partial<PeerCertificate> = socket.getPeerCertificate();
  const endMs = Date.parse(shown.valid_to ?? "");
  return Number.isNaN(endMs) ? undefined : endMs;
}

function serverTime(headers: IncomingHttpHeaders): number | undefined {
  const ms = Date.parse(headers.date ?? "");
  return isSignable(ms) ? ms : undefined;
}

/** Whether a signature can carry a time; false for NaN, too. */
export function isSignable(ms: number): boolean {
  return ms > 0 && ms < LATEST_DATE_MS;
}

interface KeptSession {
  readonly name: string;
  readonly session: Buffer;
  /** Of the certificate that was verified when the session began, ms since 1970. */
  readonly certificateEndsMs: number | undefined;
}

/** The last TLS session for each context. One host for each is enough: an agent has one hub. */
const sessions = new WeakMap<SecureContext, KeptSession>();
/** Contexts whose host ends the handshake when a session is resumed; some servers that ask for a client certificate do. */
const refused = new WeakSet<SecureContext>();

/**
 * The session to resume, which spares a Pi Zero most of the handshake; undefined without one. A session is only
 * good with the trust and the client certificate it was made with, and for the name that was checked.
 */
function resumableSession(context: SecureContext, name: string): KeptSession | undefined {
  const last = sessions.get(context);
  return last?.name === name ? last : undefined;
}

/**
 * Keeps the host's sessions for the next connection.
 * @param resumed the session that this connection may continue
 */
function rememberSessions(
  context: SecureContext,
  name: string,
  socket: TLSSocket,
  resumed: KeptSession | undefined,
): void {
  socket.on("session", (session) => {
    const certificateEndsMs = certificateEnd(socket) ?? resumed?.certificateEndsMs;
    if (!refused.has(context)) sessions.set(context, { name, session, certificateEndsMs });
  });
}

/** After a failure that the session may have caused: the next attempt resumes none. */
function forgetSession(context: SecureContext): void {
  sessions.delete(context);
}

/** After a handshake that failed with a session: no session of this host is resumed any more. */
function refuseSessions(context: SecureContext): void {
  refused.add(context);
  sessions.delete(context);
}
