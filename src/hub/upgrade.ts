import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { SecureContext } from "node:tls";
import { WebSocket } from "ws";
import type { Clock } from "../platform/clock.ts";
import { MAX_FRAME_BYTES } from "./serializer.ts";

/** One attempt to open a WebSocket. */
export interface UpgradeRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** For wss://, to which a ws:// may be redirected; undefined: Node's own trust and no certificate. */
  readonly tls:
    | {
        /** Trust, client certificate and key; made once and used again, since making it costs a Pi Zero dear. */
        readonly secureContext: SecureContext;
        /** SNI and the name the certificate must carry, when not the URL's host. */
        readonly servername?: string;
      }
    | undefined;
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

/** The server answered the upgrade with something other than 101. */
export class UpgradeRefused extends Error {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The server's wall-clock time in ms, the only hint a board without a clock may get. */
  readonly dateMs: number | undefined;

  constructor(status: number, headers: IncomingHttpHeaders) {
    // NervesHub explains itself in this header (device_socket.ex); the body says the same or nothing.
    const reason = headers["nh-connection-error-reason"];
    super(typeof reason === "string" ? `refused with ${status}: ${reason}` : `refused with ${status}`);
    this.name = "UpgradeRefused";
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
 * are always fresh. Does not follow redirects: they come as {@link UpgradeRefused}.
 * @throws UpgradeRefused; the system's or TLS's error; the signal's reason
 */
export async function openWebSocket(
  request: UpgradeRequest,
  clock: Clock,
  signal: AbortSignal,
): Promise<OpenedWebSocket> {
  signal.throwIfAborted();
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
    ...request.tls,
  });
  let localAddress: string | undefined;
  let dateMs: number | undefined;
  webSocket.on("upgrade", (response: IncomingMessage) => {
    localAddress = response.socket.localAddress;
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
        fail(new Error(`no answer within ${request.timeoutMs / 1000} s`)),
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
        fail(new UpgradeRefused(response.statusCode ?? 0, response.headers));
        httpRequest.destroy();
      });
    });
  } catch (error) {
    webSocket.terminate();
    throw error;
  }
  return { webSocket, localAddress, dateMs };
}

/** No clock that is right gives a year of five digits, and no signature can carry one much later. */
const LATEST_DATE_MS = Date.UTC(10_000, 0);

function serverTime(headers: IncomingHttpHeaders): number | undefined {
  const ms = Date.parse(headers.date ?? "");
  return ms > 0 && ms < LATEST_DATE_MS ? ms : undefined; // false for NaN, too
}
