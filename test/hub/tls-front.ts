/**
 * TLS of the stand-in hub, in front of HTTP: whether it asks for client certificates, and how it refuses
 * them.
 */
import { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { createSecureContext, TLSSocket, type SecureContext, type SecureVersion } from "node:tls";
import { createAlertTap } from "./tls-alert.ts";

export interface TlsOptions {
  /** PEM of the server's certificate and key. */
  readonly cert: string;
  readonly key: string;
  /** PEM of the authority of device certificates. */
  readonly ca?: string;
  /** Asking for them makes this a device endpoint, which serves both paths. Default `none`. */
  readonly clientCertificates?: "none" | "optional" | "required";
  /** Identifiers on record; by default every device whose certificate the authority signed. */
  readonly devices?: readonly string[];
  /** Off by default, as on NervesHub. */
  readonly maxVersion?: SecureVersion;
}

/** Why a client certificate is refused; undefined when it is good. */
export type Check = (certificate: X509Certificate | undefined) => string | undefined;

/** Puts TLS on accepted connections. */
export interface TlsFront {
  /** Resolves when the handshake is done, to undefined when it failed. */
  secure(raw: Socket): Promise<TLSSocket | undefined>;
}

/**
 * TLS whose refusals of client certificates look like Erlang's: alert 40 in the handshake. Node itself
 * only cuts the connection after it, which is also what is left for TLS 1.3, where certificates are
 * encrypted.
 */
export function createTlsFront(options: TlsOptions, check: Check): TlsFront {
  const secureContext: SecureContext = createSecureContext({
    cert: options.cert,
    key: options.key,
    ...(options.ca !== undefined && { ca: options.ca }),
    minVersion: "TLSv1.2",
    maxVersion: options.maxVersion ?? "TLSv1.2",
    sessionIdContext: "hub", // sessions of devices with certificates are resumed, as by NervesHub
  });
  const asks = (options.clientCertificates ?? "none") !== "none";
  return {
    async secure(raw) {
      // Through a stream of ours, so that the raw socket stays in our hands: for alerts, and for resets.
      const socket = new TLSSocket(tap(raw, asks ? check : undefined), {
        isServer: true,
        secureContext,
        requestCert: asks,
        rejectUnauthorized: false,
      });
      socket.on("error", () => socket.destroy()); // the peer's alert or reset; it ends here
      return new Promise((resolve) => {
        socket.once("close", () => resolve(undefined));
        socket.once("secure", () => {
          if (asks && check(socket.getPeerX509Certificate()) !== undefined) socket.destroy();
          else resolve(socket);
        });
      });
    },
  };
}

/** Watches the handshake pass. When a certificate is refused, sends the alert and ends the connection. */
function tap(raw: Socket, check: Check | undefined): Duplex {
  const alertFor = check && createAlertTap(check);
  let refused = false;
  const stream = new Duplex({
    read: () => void raw.resume(),
    write: (chunk: Buffer, _encoding, done) => {
      if (refused || raw.destroyed) done();
      else raw.write(chunk, () => done());
    },
    final: (done) => {
      if (raw.writable) raw.end(() => done());
      else done();
    },
    destroy: (error, done) => {
      if (!refused) raw.destroy();
      done(error);
    },
  });
  raw.on("data", (chunk: Buffer) => {
    if (refused) return;
    const alert = alertFor?.(chunk);
    if (alert !== undefined) {
      refused = true;
      raw.end(alert);
      raw.resume(); // to its end: unread data would turn the close into a reset
      stream.destroy();
    } else if (!stream.push(chunk)) {
      raw.pause();
    }
  });
  raw.once("end", () => stream.push(null));
  raw.once("error", () => stream.destroy());
  raw.once("close", () => stream.destroy());
  return stream;
}

/** Whether a device certificate is good at this time. */
export function certificateCheck(options: TlsOptions, nowMs: () => number): Check {
  const authority = options.ca === undefined ? undefined : new X509Certificate(options.ca);
  return (certificate) => {
    if (certificate === undefined) {
      return options.clientCertificates === "required" ? "no certificate" : undefined;
    }
    if (
      authority === undefined ||
      !certificate.checkIssued(authority) ||
      !certificate.verify(authority.publicKey)
    ) {
      return "unknown CA";
    }
    if (nowMs() < Date.parse(certificate.validFrom)) return "not yet valid";
    if (nowMs() > Date.parse(certificate.validTo)) return "expired";
    const name = commonName(certificate);
    if (name === undefined) return "no common name";
    return options.devices?.includes(name) === false ? "unknown device" : undefined;
  };
}

/** The device that a certificate names. */
export function commonName(certificate: X509Certificate): string | undefined {
  return /^CN=(.+)$/m.exec(certificate.subject)?.[1];
}
