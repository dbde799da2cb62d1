/**
 * The words and the code for a connection that could not be made, for the log, `hublink status` and `hublink check`.
 * The codes of DNS, TCP and TLS mean nothing to the person at the board; what to check does.
 */
import { failedWith, Failure, messageOf, systemCode } from "../platform/failure.ts";
import { HandshakeRefused } from "./handshake.ts";
import { TlsHelperFailure } from "./tls-helper.ts";

const UNTRUSTED = "the hub's certificate is not signed by a CA this board trusts; check hub.ca_file";
const UNTRUSTED_OR_INCOMPLETE = `${UNTRUSTED}, and that the hub sends its intermediate certificates`;

/** The meaning of errors of DNS and TCP, for the person who looks after the board. */
const UNREACHABLE_BY: Readonly<Record<string, string>> = {
  ENOTFOUND: "the name does not resolve; check hub.url and the board's DNS",
  EAI_AGAIN: "no answer from DNS; check the board's network",
  ECONNREFUSED: "nothing listens there; check the host and port of hub.url",
  ECONNRESET: "the connection was reset; check hub.url, and what stands between the board and the hub",
  EPIPE: "the connection was reset",
  ETIMEDOUT: "no answer; check the board's network",
  EHOSTUNREACH: "no route to the host; check the board's network",
  ENETUNREACH: "no network",
};

const CERTIFICATE_RESET = "the connection was reset, as some servers do to a client certificate they refuse";

/** What is known of an attempt besides its error. */
export interface Attempt {
  /** Why the board's clock may be wrong, if it may be. */
  readonly clockDoubt?: string | undefined;
  /** The board has shown a certificate of its own: not over plain ws://, and not with a shared secret. */
  readonly clientCertificate: boolean;
}

/** The meaning of Node's errors about the hub's certificate. */
const UNTRUSTED_BY: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "the hub's certificate has expired, or the board's clock is ahead",
  CERT_NOT_YET_VALID: "the hub's certificate is not yet valid, or the board's clock is behind",
  ERR_TLS_CERT_ALTNAME_INVALID: "the hub's certificate is for another name; check hub.url or hub.server_name",
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED_OR_INCOMPLETE,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED_OR_INCOMPLETE,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED_OR_INCOMPLETE,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  DEPTH_ZERO_SELF_SIGNED_CERT:
    "the hub's certificate is self-signed, and none this board trusts; check hub.url, or name it in hub.ca_file",
};

const DATE_ERRORS: readonly string[] = ["CERT_HAS_EXPIRED", "CERT_NOT_YET_VALID"];

/** TLS alerts by which servers refuse a client certificate (RFC 8446 §6.2; NervesHub sends 40). */
const CERTIFICATE_ALERT =
  /alert (handshake failure|unknown ca|certificate required|bad certificate|certificate unknown|certificate expired|certificate revoked|access denied)/;

/**
 * Why a connection to the hub could not be made, in one line that says what to look at. The code is `hub_refused`,
 * `hub_untrusted` or `hub_unreachable`.
 */
export function connectFailure(error: unknown, attempt: Attempt): Failure {
  const nodeCode = failureCode(error);
  const code = nodeCode in UNTRUSTED_BY ? "hub_untrusted" : "hub_unreachable";
  return new Failure(
    failedWith(error, "hub_refused") ? error.code : code,
    explain(error, nodeCode, attempt),
    { cause: error },
  );
}

/** Whether the attempt failed, as far as is known, because of the dates of a certificate. */
export function isDateError(error: unknown): boolean {
  return DATE_ERRORS.includes(failureCode(error));
}

/** Node's code for the error of an attempt; empty for one that has none. */
export function failureCode(error: unknown): string {
  // When a name has several addresses, Node puts the errors of all into one; the first stands for them.
  const first: unknown = error instanceof AggregateError ? error.errors[0] : error;
  return (first instanceof TlsHelperFailure ? first.nodeCode : systemCode(first)) ?? "";
}

function explain(error: unknown, code: string, { clockDoubt, clientCertificate }: Attempt): string {
  if (error instanceof HandshakeRefused) return explainRefusal(error);
  const text = messageOf(error);
  if (error instanceof Failure && !(error instanceof TlsHelperFailure)) return text;
  const alert = CERTIFICATE_ALERT.exec(text)?.[1];
  if (alert === "handshake failure") {
    return `the hub refused the TLS handshake, as it does to a certificate it does not know (TLS alert: ${alert})`;
  }
  if (alert !== undefined) return `the hub refused this board's certificate (TLS alert: ${alert})`;
  if (/alert protocol version|unsupported protocol/.test(text)) {
    return "the hub offers only TLS older than 1.2, which is not used; update the hub";
  }
  if (text.includes("wrong version number")) return "the hub does not speak TLS there; check hub.url";
  if (DATE_ERRORS.includes(code) && clockDoubt !== undefined)
    return `the hub's certificate can't be judged: ${clockDoubt}; it is tried again when the clock is set (${code})`;
  if (code === "ECONNRESET" && clientCertificate) return `${CERTIFICATE_RESET} (${code})`;
  const meaning = UNREACHABLE_BY[code] ?? UNTRUSTED_BY[code];
  return meaning === undefined ? text : `${meaning} (${code})`;
}

function explainRefusal(refused: HandshakeRefused): string {
  switch (refused.status) {
    case 401:
      return `${refused.message}; check the identity, and that the hub knows this device`;
    case 403:
      return `${refused.message}; check the path of hub.url`;
    case 503:
      return `${refused.message}; the hub is not ready`;
    default:
      return refused.status >= 300 && refused.status < 400
        ? `${refused.message}: a redirect that leads nowhere, or out of TLS; check hub.url`
        : refused.message;
  }
}
