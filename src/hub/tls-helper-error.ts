import { Failure, messageOf, systemCode } from "../platform/failure.ts";
import type { Proxy } from "../platform/proxy.ts";
import { ProxyFailure } from "../platform/proxy-tunnel.ts";
import type { HelperKey } from "../identity/identity.ts";
import { tokenProblem } from "../identity/token-problem.ts";

/** An error of the helper in Node's terms, so that both routes explain themselves alike. */
class HelperError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = "HelperError";
    this.code = code;
  }
}

/** What OpenSSL, libc and stunnel write, and Node's code for the same; the first that is found counts. */
const CODES: readonly (readonly [RegExp, string])[] = [
  [/Subject checks failed|hostname mismatch|IP address mismatch/i, "ERR_TLS_CERT_ALTNAME_INVALID"],
  [/certificate has expired/, "CERT_HAS_EXPIRED"],
  [/certificate is not yet valid/, "CERT_NOT_YET_VALID"],
  [/self[- ]signed certificate in certificate chain/, "SELF_SIGNED_CERT_IN_CHAIN"],
  [/self[- ]signed certificate/, "DEPTH_ZERO_SELF_SIGNED_CERT"],
  [/unable to verify the first certificate/, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
  [/unable to get local issuer certificate/, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"],
  [/unable to get issuer certificate/, "UNABLE_TO_GET_ISSUER_CERT"],
  [/Connection refused/, "ECONNREFUSED"],
  [/No route to host/, "EHOSTUNREACH"],
  [/Network is unreachable/, "ENETUNREACH"],
  [/TIMEOUTconnect exceeded|Connection timed out/, "ETIMEDOUT"],
  [/EAI_AGAIN|Temporary failure in name resolution/, "EAI_AGAIN"],
  [/Error resolving|Cannot resolve|EAI_NONAME|EAI_NODATA/, "ENOTFOUND"],
  [/Connection reset by peer/, "ECONNRESET"],
];

/**
 * Why there is no connection. Only phrases that are known leave the log: stunnel writes its whole
 * configuration into it when it can't use it, the PIN too.
 * @param log what the helper wrote
 * @param startError why the helper could not be started, if so
 */
export function explainHelper(
  log: string,
  key: HelperKey,
  startError: Error | undefined,
  proxy?: Proxy,
): Error {
  if (systemCode(startError) === "ENOENT") {
    return new Failure("unavailable", "stunnel is not installed; it does TLS for keys that stay in a chip");
  }
  if (startError !== undefined) return new Failure("unavailable", `stunnel: ${messageOf(startError)}`);
  const problem = key.kind === "pem" ? undefined : tokenProblem(key, log);
  if (problem !== undefined) return problem;
  if (proxy !== undefined) {
    const unreached =
      /connect_blocking: .*(Connection refused|TIMEOUTconnect exceeded|No route to host)/.test(log);
    if (unreached) return new ProxyFailure(`the proxy ${proxy.name} can't be reached; check hub.proxy`);
    if (log.includes("CONNECT request rejected"))
      return new ProxyFailure(`the proxy ${proxy.name} refuses to connect to the hub; check hub.proxy`);
  }
  const code = CODES.find(([pattern]) => pattern.test(log))?.[1];
  if (code !== undefined) return new HelperError(code, `stunnel: ${code}`);
  // An alert of the hub, or whatever else TLS says: OpenSSL's errors hold nothing of the configuration.
  const tls = /SSL_(?:connect|read): .*error:[0-9A-F]+:SSL routines:[^:\n]*:(.+)$/m.exec(log)?.[1];
  if (tls !== undefined) return new Error(`stunnel: ${tls}`);
  return /Configuration failed|Invalid configuration/.test(log)
    ? new Failure(
        "config",
        "stunnel does not take its configuration; is it 5.60 or later, with OpenSSL's engines?",
      )
    : new HelperError("ECONNRESET", "stunnel: the connection ended before the hub answered");
}
