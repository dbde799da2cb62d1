/**
 * Finds the client's certificate in a TLS 1.2 handshake, so that the stand-in hub can refuse it with the
 * alert that the real server sends. Node's own TLS cannot choose an alert.
 */
import { X509Certificate } from "node:crypto";

const HANDSHAKE_RECORD = 22;
const RECORD_HEADER_BYTES = 5;
const MESSAGE_HEADER_BYTES = 4;
const CERTIFICATE_MESSAGE = 11;
/** A plain record of TLS 1.2: fatal (2), handshake_failure (40). */
const HANDSHAKE_FAILURE = Buffer.from([21, 3, 3, 0, 2, 2, 40]);

/**
 * Follows the client's side of a TLS 1.2 handshake (RFC 5246 §7.4.6), which is in the clear until
 * ChangeCipherSpec.
 * @returns takes each chunk; gives the alert to send when the client's certificate is refused
 */
export function createAlertTap(
  check: (certificate: X509Certificate | undefined) => string | undefined,
): (chunk: Buffer) => Buffer | undefined {
  let records = Buffer.alloc(0);
  let messages = Buffer.alloc(0);
  let done = false;
  return (chunk) => {
    if (done) return undefined;
    records = Buffer.concat([records, chunk]);
    while (records.length >= RECORD_HEADER_BYTES) {
      const end = RECORD_HEADER_BYTES + records.readUInt16BE(3);
      if (records.length < end) break;
      if (records[0] !== HANDSHAKE_RECORD) {
        done = true; // ChangeCipherSpec: what follows can't be read
        break;
      }
      messages = Buffer.concat([messages, records.subarray(RECORD_HEADER_BYTES, end)]);
      records = records.subarray(end);
    }
    while (messages.length >= MESSAGE_HEADER_BYTES) {
      const end = MESSAGE_HEADER_BYTES + messages.readUIntBE(1, 3);
      if (messages.length < end) return undefined;
      if (messages[0] === CERTIFICATE_MESSAGE) {
        done = true;
        const certificate = firstCertificate(messages.subarray(MESSAGE_HEADER_BYTES, end));
        return check(certificate) === undefined ? undefined : HANDSHAKE_FAILURE;
      }
      messages = messages.subarray(end);
    }
    return undefined;
  };
}

/** The leaf of a Certificate message: a list of DER certificates, each with its length, all in 24 bits. */
function firstCertificate(message: Buffer): X509Certificate | undefined {
  if (message.length < 6) return undefined;
  const der = message.subarray(6, 6 + message.readUIntBE(3, 3));
  try {
    return new X509Certificate(der);
  } catch {
    return undefined; // not a certificate; OpenSSL refuses it by itself
  }
}
