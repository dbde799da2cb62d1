/**
 * What the hub's certificate says about the time. A board whose clock is only a guess can't judge the certificate's
 * dates; but a certificate that is right in all else says when it is valid, and so when now is. OpenSSL reports one
 * error of several, and an expired certificate of a stranger as expired: so chain and name are checked here, and
 * whoever sits in the network can't move a board's clock by certificates of their own.
 */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import {
  checkServerIdentity,
  connect as connectTls,
  createSecureContext,
  type DetailedPeerCertificate,
  type TLSSocket,
} from "node:tls";
import type { CertificateDates } from "../board/clock-guard.ts";
import { type Clock, unlessAborted, within } from "../platform/clock.ts";
import { ADDRESSES, openTunnel } from "../platform/proxy-tunnel.ts";
import { hostOf } from "../platform/proxy.ts";
import type { HandshakeRequest } from "./handshake.ts";

/** Longer chains are not in use. */
const MAX_CHAIN = 10;

/**
 * Begins a handshake, without a client certificate, to see the host's certificate.
 * @returns its dates, with those of its issuers; undefined if it could not be had, is for another name, or leads to
 *   none of the trusted CAs
 */
export async function readCertificateDates(
  { url, tls, proxyFor, timeoutMs }: HandshakeRequest,
  clock: Clock,
  signal: AbortSignal,
): Promise<CertificateDates | undefined> {
  if (tls?.ca === undefined || url.protocol !== "wss:") return undefined;
  const { ca } = tls;
  const host = hostOf(url.hostname);
  const name = tls.servername ?? host;
  const proxy = proxyFor?.(url);
  const over = new AbortController();
  const ending = AbortSignal.any([over.signal, signal]);
  const look = async (): Promise<X509Certificate[]> => {
    const tunnel = proxy && (await openTunnel(proxy, url, { clock, timeoutMs, signal: ending }));
    return await shownChain(
      connectTls({
        ...(tunnel === undefined
          ? { host, port: Number(url.port || 443), ...ADDRESSES }
          : { socket: tunnel }),
        servername: isIP(name) === 0 ? name : "",
        // Trusts nobody: the handshake ends in an error, once the certificate is there.
        secureContext: createSecureContext({ ca: [], minVersion: "TLSv1.2" }),
        rejectUnauthorized: true,
      }),
      ending,
    );
  };
  try {
    const chain = await unlessAborted(within(clock, timeoutMs, look(), []), signal);
    return datesOf(chain, ca, name);
  } catch {
    return undefined; // the attempt before this one says what is wrong
  } finally {
    over.abort();
  }
}

/**
 * The certificates that a host shows, its own first. They are read while the handshake goes on, when Node reports
 * its secrets: of a connection that failed, Node keeps nothing.
 */
async function shownChain(socket: TLSSocket, signal: AbortSignal): Promise<X509Certificate[]> {
  try {
    return await unlessAborted(
      new Promise<X509Certificate[]>((resolve) => {
        socket.on("keylog", () => {
          const chain = chainOf(socket.getPeerCertificate(true));
          if (chain.length > 0) resolve(chain);
        });
        socket.on("error", () => resolve([])); // without effect once the chain was seen
        socket.once("close", () => resolve([]));
      }),
      signal,
    );
  } finally {
    socket.destroy();
  }
}

/** Node's types promise a certificate, but there is none before the host has sent it. */
function chainOf(shown: Partial<DetailedPeerCertificate>): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let next: Partial<DetailedPeerCertificate> | undefined = shown;
  while (next?.raw !== undefined && chain.length < MAX_CHAIN) {
    chain.push(new X509Certificate(next.raw));
    next = next.issuerCertificate === next ? undefined : next.issuerCertificate;
  }
  return chain;
}

/**
 * The dates between which a chain is valid as a whole.
 * @param chain the host's certificate first
 * @param ca those that are trusted, PEM
 * @returns undefined unless the chain is for `name` and each certificate is signed by the next, up to a trusted one
 */
function datesOf(
  chain: readonly X509Certificate[],
  ca: readonly string[],
  name: string,
): CertificateDates | undefined {
  const [own] = chain;
  if (own === undefined || checkServerIdentity(name, own.toLegacyObject()) !== undefined) return undefined;
  const trusted = ca.map((pem) => new X509Certificate(pem));
  const path: X509Certificate[] = [];
  for (const [index, certificate] of chain.entries()) {
    path.push(certificate);
    const anchor = trusted.find((each) => each.raw.equals(certificate.raw) || isIssuer(each, certificate));
    if (anchor !== undefined) return commonDates([...path, anchor]);
    const next = chain[index + 1];
    if (next === undefined || !next.ca || !isIssuer(next, certificate)) return undefined;
  }
  return undefined;
}

function isIssuer(issuer: X509Certificate, certificate: X509Certificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

function commonDates(path: readonly X509Certificate[]): CertificateDates {
  return {
    notBeforeMs: Math.max(...path.map(({ validFrom }) => Date.parse(validFrom))),
    notAfterMs: Math.min(...path.map(({ validTo }) => Date.parse(validTo))),
  };
}
