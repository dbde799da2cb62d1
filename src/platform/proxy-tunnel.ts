/**
 * Connections through an HTTP proxy. Every failure here is the proxy's and says so (`proxy_failed`): people
 * looked for the fault at the hub when only "connection refused" was said.
 */
import { addAbortListener } from "node:events";
import { request } from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "./clock.ts";
import { Failure, messageOf, systemCode } from "./failure.ts";
import type { Proxy } from "./proxy.ts";
import { portOf } from "./text.ts";

export interface TunnelOptions {
  readonly clock: Clock;
  /** Limit from the first packet to the proxy's answer. */
  readonly timeoutMs: number;
  /** Ends the attempt. */
  readonly signal: AbortSignal;
}

/** When a name has several addresses, Node tries each for 250 ms: too short for a modem, so none ever connects. */
export const ADDRESSES = { autoSelectFamilyAttemptTimeout: 5000 };

/** A URL's host and port, as CONNECT takes them. */
function authorityOf(url: URL): string {
  return `${url.hostname}:${portOf(url)}`;
}

/**
 * Connects to a URL's host through a proxy by CONNECT (RFC 9110 §9.3.6), for unencrypted protocols too.
 * @returns a connection on which nothing was sent yet
 * @throws Failure `proxy_failed`; the signal's reason
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
  using _listener = addAbortListener(signal, () => connect.destroy(signal.reason as Error));
  const cancel = clock.after(timeoutMs, () =>
    connect.destroy(proxyFailure(`the proxy ${proxy.name} does not answer within ${timeoutMs / 1000} s`)),
  );
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
        const ours = error instanceof Failure || signal.aborted;
        reject(ours ? error : unreachable(proxy, error));
      });
      connect.end();
    });
  } finally {
    cancel();
  }
}

function authorization({ credentials }: Proxy): Record<string, string> {
  if (credentials === undefined) return {};
  const { user, password } = credentials;
  return { "proxy-authorization": `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` };
}

function unreachable(proxy: Proxy, error: Error): Failure {
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  const why = systemCode(first) ?? messageOf(error);
  return proxyFailure(`the proxy ${proxy.name} can't be used: ${why}; check hub.proxy or HTTPS_PROXY`, {
    cause: error,
  });
}

function refusal(proxy: Proxy, authority: string, status: number): Failure {
  const name = `the proxy ${proxy.name}`;
  switch (status) {
    case 407: {
      const what = proxy.credentials === undefined ? "a user and a password" : "another user or password";
      return proxyFailure(`${name} wants ${what} (407); check hub.proxy or HTTPS_PROXY`);
    }
    case 403:
      return proxyFailure(`${name} does not let this board connect to ${authority} (403)`);
    case 502:
    case 503:
    case 504:
      return proxyFailure(`${name} can't reach ${authority} (${status})`);
    default:
      return proxyFailure(`${name} answers ${status} when asked to connect to ${authority}`);
  }
}

function proxyFailure(message: string, options?: ErrorOptions): Failure {
  return new Failure("proxy_failed", message, options);
}
