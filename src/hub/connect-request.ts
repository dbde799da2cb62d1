/**
 * The request of one attempt to connect: URL, headers and TLS, with credentials made for that moment. A signature
 * is good for seconds, and a certificate may be replaced while the agent runs, so nothing but the TLS context is
 * kept from one attempt to the next.
 */
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { isDeepStrictEqual } from "node:util";
import type { Config } from "../config/schema.ts";
import type { ConnectionCredentials, Identity, TlsCredentials } from "../identity/identity.ts";
import { engineContext } from "../identity/pkcs11.ts";
import { chooseProxy } from "../platform/proxy.ts";
import type { HandshakeRequest } from "./handshake.ts";
import { HANDSHAKE_TIMEOUT_MS } from "./link.ts";

/** The part of `[hub]` that says where and how to connect. */
export type HubAddress = Pick<Config["hub"], "url" | "compress" | "serverName" | "proxy">;

/** Makes the request of each attempt. */
export function hubRequests(
  hub: HubAddress,
  identity: Identity,
  ca: readonly string[],
): (signingTimeMs: number, vsn: string) => Promise<HandshakeRequest> {
  const secureContextOf = reusedContext(ca);
  const proxyFor = chooseProxy(hub.proxy, process.env);
  return async (signingTimeMs, vsn) => {
    const credentials = await identity.connection(Math.floor(signingTimeMs / 1000));
    const url = socketUrl(hub.url, credentials.path, vsn);
    const { tls } = credentials;
    const servername = hub.serverName === "" ? {} : { servername: hub.serverName };
    return {
      url,
      headers: credentials.headers,
      tls:
        tls.kind === "helper"
          ? { ...tls, ca, ...servername }
          : { kind: "direct", secureContext: secureContextOf(tls), ca, ...servername },
      proxyFor,
      compress: hub.compress,
      timeoutMs: HANDSHAKE_TIMEOUT_MS,
    };
  };
}

/** Whether the hub sees a certificate of the board's. */
export function presentsCertificate({ url }: Pick<HubAddress, "url">, identity: Identity): boolean {
  return url.startsWith("wss:") && identity.describe().certificate !== undefined;
}

/** Adds the path of the identity's kind of authentication, and `vsn`; a path or vsn in the configuration is kept. */
export function socketUrl(base: string, path: ConnectionCredentials["path"], vsn: string): URL {
  const url = new URL(base);
  if (url.pathname === "/") url.pathname = path;
  if (!url.searchParams.has("vsn")) url.searchParams.set("vsn", vsn);
  return url;
}

type OwnTls = Exclude<TlsCredentials, { readonly kind: "helper" }>;

function reusedContext(ca: readonly string[]): (tls: OwnTls) => SecureContext {
  let last: { readonly tls: OwnTls; readonly context: SecureContext } | undefined;
  return (tls) => {
    if (last === undefined || !isDeepStrictEqual(last.tls, tls)) last = { tls, context: contextOf(tls, ca) };
    return last.context;
  };
}

function contextOf(tls: OwnTls, ca: readonly string[]): SecureContext {
  const options: SecureContextOptions = { ca: [...ca], minVersion: "TLSv1.2" };
  switch (tls.kind) {
    case "none":
      return createSecureContext(options);
    case "direct":
      return createSecureContext({ ...options, cert: tls.cert, key: tls.key });
    case "engine":
      return engineContext(tls.key, { ...options, cert: tls.cert });
  }
}
