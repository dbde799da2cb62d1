import { createSecureContext, type SecureContext } from "node:tls";
import { UPGRADE_TIMEOUT_MS } from "../hub/link.ts";
import type { UpgradeRequest } from "../hub/upgrade.ts";
import type { ConnectionCredentials, Identity } from "../identity/identity.ts";

/** `[hub]`, as far as it says where and how to connect. */
export interface HubAddress {
  /** ws:// or wss:// */
  readonly url: string;
  readonly compress: boolean;
  /** Empty: the URL's host. */
  readonly server_name: string;
}

/** Makes the request of each attempt: its URL, its credentials of that moment, its TLS. */
export function hubRequests(
  hub: HubAddress,
  identity: Identity,
  ca: readonly string[],
  vsn: string,
): (signingTimeMs: number) => Promise<UpgradeRequest> {
  const secureContextOf = reusedContext(ca);
  return async (signingTimeMs) => {
    const credentials = await identity.connection(Math.floor(signingTimeMs / 1000));
    const url = socketUrl(hub.url, credentials.path, vsn);
    return {
      url,
      headers: credentials.headers,
      tls: {
        secureContext: secureContextOf(credentials.tls),
        ...(hub.server_name !== "" && { servername: hub.server_name }),
      },
      compress: hub.compress,
      timeoutMs: UPGRADE_TIMEOUT_MS,
    };
  };
}

/** Path and query follow from the way of authenticating; what the configuration gives is kept. */
export function socketUrl(base: string, path: ConnectionCredentials["path"], vsn: string): URL {
  const url = new URL(base);
  if (url.pathname === "/") url.pathname = path;
  if (!url.searchParams.has("vsn")) url.searchParams.set("vsn", vsn);
  return url;
}

function reusedContext(ca: readonly string[]): (tls: ConnectionCredentials["tls"]) => SecureContext {
  let last: { readonly tls: ConnectionCredentials["tls"]; readonly context: SecureContext } | undefined;
  return (tls) => {
    if (last === undefined || last.tls.cert !== tls.cert || last.tls.key !== tls.key) {
      last = { tls, context: createSecureContext({ ...tls, ca: [...ca], minVersion: "TLSv1.2" }) };
    }
    return last.context;
  };
}
