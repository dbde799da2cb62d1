import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from "node:http";
import { isIP, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls, type SecureContext, TLSSocket } from "node:tls";
import { WebSocket } from "ws";
import type { Clock } from "../platform/clock.ts";
import { Failure, systemCode } from "../platform/failure.ts";
import { openTunnel } from "../platform/proxy-tunnel.ts";
import { hostOf, type Proxy, type ProxyChoice } from "../platform/proxy.ts";
import { MAX_FRAME_BYTES } from "./serializer.ts";
import { type HelperTls, startTlsHelper } from "./tls-helper.ts";

/** TLS in this process. */
export interface DirectTls {
  readonly kind: "direct";
  /** Trust, client certificate and key; made once and used again, since making it costs a Pi Zero dear. */
  readonly secureContext: SecureContext;
  /** SNI and the name the certificate must carry, when not the URL's host. */
  readonly servername?: string;
}

/** One attempt to open a WebSocket. */
export interface HandshakeRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** For wss://, to which a ws:// may be redirected; undefined: Node's own trust and no certificate. */
  readonly tls: DirectTls | HelperTls | undefined;
  readonly proxyFor?: ProxyChoice;
  /** Offers permessage-deflate. */
  readonly compress: boolean;
  /** From the first packet to the 101. */
  readonly timeoutMs: number;
}

/**
 * Node gives each address of a name 250 ms when it has several, too few for a modem or a satellite; were
 * they all too slow, the board would never connect.
 */
const ADDRESSES = { autoSelectFamilyAttemptTimeout: 5000 };

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
      typeof reason === "string" ? `refused with ${status}: ${reason}` : `refused with ${status}`,
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
  readonly dateMs: number | undefined;
}

/**
 * Opens a WebSocket, paused; one of its own for each attempt, so that headers, certificates and the DNS answer
 * are always fresh. Does not follow redirects: they come as {@link HandshakeRefused}.
 * @throws HandshakeRefused; the system's or TLS's error; the signal's reason
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
    headers: { ...request.headers },
    maxPayload: MAX_FRAME_BYTES,
    // No context takeover: a kept window costs some 300 KiB for each direction, much for a Pi Zero.
    perMessageDeflate: request.compress && {
      clientNoContextTakeover: true,
      serverNoContextTakeover: true,
      threshold: 1024,
    },
    ...ADDRESSES,
    ...(tunnel && throughTunnel(tunnel, request.url)),
    ...route.options,
  });
  let localAddress: string | undefined;
  let dateMs: number | undefined;
  webSocket.on("upgrade", (response: IncomingMessage) => {
    localAddress = route.localAddress() ?? response.socket.localAddress;
    dateMs = serverTime(response.headers);
  });
  try {
    await new Promise<void>((resolve, reject) => {
      const fail = (error: Error): void => {
        ended();
        reject(error);
      };
      const onAbort = (): void => fail(signal.reason as Error);
      const cancel = clock.after(request.timeoutMs, () =>
        fail(new Failure("hub_unreachable", `no answer within ${request.timeoutMs / 1000} s`)),
      );
      const ended = (): void => {
        cancel();
        signal.removeEventListener("abort", onAbort);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      webSocket.on("error", fail);
      webSocket.once("open", () => {
        ended();
        webSocket.pause(); // until its taker listens: what comes with the 101 must not be lost
        resolve();
      });
      webSocket.once("unexpected-response", (httpRequest: ClientRequest, response: IncomingMessage) => {
        response.resume();
        fail(new HandshakeRefused(response.statusCode ?? 0, response.headers));
        httpRequest.destroy();
      });
    });
  } catch (error) {
    webSocket.terminate();
    over.abort(error);
    if (route.failed(error)) return await openWebSocket(request, clock, signal);
    throw error;
  }
  return { webSocket, localAddress, dateMs };
}

/** How this attempt's TLS is done. */
interface TlsRoute {
  /** For ws, which hands them on to Node's request and tls.connect: its own types lack some. */
  readonly options: object;
  /** Known to the helper only. */
  readonly localAddress: () => string | undefined;
  /** Told of a failure; true when an attempt at once, done differently, may be a better one. */
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
  const session = resumableSession(secureContext, name);
  const options = {
    secureContext,
    ...(servername !== undefined && { servername }),
    ...(session !== undefined && { session }),
    finishRequest(request: ClientRequest) {
      request.once("socket", (socket) => {
        if (socket instanceof TLSSocket) rememberSessions(secureContext, name, socket);
      });
      request.end();
    },
  };
  return {
    ...PLAIN,
    options,
    failed(error) {
      if (session === undefined || !isTlsError(error)) {
        forgetSession(secureContext);
        return false;
      }
      refuseSessions(secureContext);
      return true;
    },
  };
}

/** What Node's request calls for its connection; it gives ws's and our options of TLS along. */
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

/** As Node calls alerts and what else ends a handshake. */
function isTlsError(error: unknown): boolean {
  const code = systemCode(error) ?? "";
  return code === "EPROTO" || code.startsWith("ERR_SSL");
}

/** No clock that is right gives a year of five digits, and no signature can carry one much later. */
const LATEST_DATE_MS = Date.UTC(10_000, 0);

function serverTime(headers: IncomingHttpHeaders): number | undefined {
  const ms = Date.parse(headers.date ?? "");
  return ms > 0 && ms < LATEST_DATE_MS ? ms : undefined; // false for NaN, too
}

/** The last session for each context: of one host, as an agent has one hub. */
const sessions = new WeakMap<SecureContext, { readonly name: string; readonly session: Buffer }>();
/** Contexts whose host breaks off when it is shown a session, as servers do that ask for certificates carelessly. */
const refused = new WeakSet<SecureContext>();

/**
 * A session of a host to resume, which spares a Pi Zero most of the handshake; undefined without one. It
 * is bound to the trust and the client certificate it was made with, and to the name that was checked.
 */
function resumableSession(context: SecureContext, name: string): Buffer | undefined {
  const last = sessions.get(context);
  return last?.name === name ? last.session : undefined;
}

/** Keeps what the host gives for the next connection. */
function rememberSessions(context: SecureContext, name: string, socket: TLSSocket): void {
  socket.on("session", (session) => {
    if (!refused.has(context)) sessions.set(context, { name, session });
  });
}

/** After a failure that may be the session's: the next attempt is without. */
function forgetSession(context: SecureContext): void {
  sessions.delete(context);
}

/** After a handshake that failed with a session: none is shown to this host any more. */
function refuseSessions(context: SecureContext): void {
  refused.add(context);
  sessions.delete(context);
}
