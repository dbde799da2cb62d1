import { request } from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "./clock.ts";
import { Failure, messageOf, systemCode } from "./failure.ts";
import { type Proxy } from "./proxy.ts";

/** The proxy is at fault, not what is behind it. */
export class ProxyFailure extends Failure {
  constructor(message: string, options?: ErrorOptions) {
    super("unavailable", message, options);
    this.name = "ProxyFailure";
  }
}

export interface TunnelOptions {
  readonly clock: Clock;
  /** From the first packet to the proxy's answer. */
  readonly timeoutMs: number;
  /** Ends the attempt. */
  readonly signal: AbortSignal;
}

/** Node gives each address of a name 250 ms when it has several, too few for a modem. */
const ADDRESSES = { autoSelectFamilyAttemptTimeout: 5000 };

/** The ports of URLs that name none. */
const PORTS: Readonly<Record<string, string>> = {
  "http:": "80",
  "ws:": "80",
  "https:": "443",
  "wss:": "443",
};

/** A URL's host and port, as CONNECT takes them. */
function authorityOf(url: URL): string {
  return `${url.hostname}:${url.port || (PORTS[url.protocol] ?? "")}`;
}

/**
 * Connects to a URL's host through a proxy, by CONNECT (RFC 9110 §9.3.6), with unencrypted protocols too.
 * @returns a connection on which nothing was sent yet
 * @throws ProxyFailure; the signal's reason
 */
export async function openTunnel(proxy: Proxy, url: URL, options: TunnelOptions): Promise<Socket> {
  const { clock, timeoutMs, signal } = options;
  signal.throwIfAborted();
  const authority = authorityOf(url);
  const connect = request({
    method: "CONNECT",
    host: proxy.host,
    port: proxy.port,
    path: authority,
    headers: { host: authority, ...authorization(proxy) },
    agent: false,
    ...ADDRESSES,
  });
  const onAbort = (): void => void connect.destroy(signal.reason as Error);
  const cancel = clock.after(timeoutMs, () =>
    connect.destroy(new ProxyFailure(`the proxy ${proxy.name} does not answer within ${timeoutMs / 1000} s`)),
  );
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await new Promise<Socket>((resolve, reject) => {
      connect.once("connect", ({ statusCode = 0 }, socket: Socket, head) => {
        if (statusCode >= 200 && statusCode < 300) {
          if (head.length > 0) socket.unshift(head);
          resolve(socket);
        } else {
          socket.destroy();
          reject(refusal(proxy, authority, statusCode));
        }
      });
      connect.on("error", (error) => {
        const ours = error instanceof ProxyFailure || signal.aborted;
        reject(ours ? error : unreachable(proxy, error));
      });
      connect.end();
    });
  } finally {
    cancel();
    signal.removeEventListener("abort", onAbort);
  }
}

function authorization({ credentials }: Proxy): Record<string, string> {
  if (credentials === undefined) return {};
  const { user, password } = credentials;
  return { "proxy-authorization": `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` };
}

function unreachable(proxy: Proxy, error: Error): ProxyFailure {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const why = systemCode(first) ?? messageOf(error);
  return new ProxyFailure(`the proxy ${proxy.name} can't be used: ${why}; check hub.proxy or HTTPS_PROXY`, {
    cause: error,
  });
}

function refusal(proxy: Proxy, authority: string, status: number): ProxyFailure {
  const name = `the proxy ${proxy.name}`;
  switch (status) {
    case 407: {
      const what = proxy.credentials === undefined ? "a user and a password" : "another user or password";
      return new ProxyFailure(`${name} wants ${what} (407); check hub.proxy or HTTPS_PROXY`);
    }
    case 403:
      return new ProxyFailure(`${name} does not let this board connect to ${authority} (403)`);
    case 502:
    case 503:
    case 504:
      return new ProxyFailure(`${name} can't reach ${authority} (${status})`);
    default:
      return new ProxyFailure(`${name} answers ${status} when asked to connect to ${authority}`);
  }
}
