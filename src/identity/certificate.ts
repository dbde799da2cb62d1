import { X509Certificate } from "node:crypto";
import { array, parse, pipe, string, transform, optional, union } from "valibot";
import { Failure, messageOf } from "../platform/failure.ts";
import { heldInstead, pemBlocks } from "./pem.ts";

/** Certificates in the order of their file; the first is the device's own, the rest are its issuers. */
export type CertificateChain = readonly [X509Certificate, ...X509Certificate[]];

/** What people look at in a certificate. */
export interface CertificateFacts {
  /** One line, such as `O=Example, CN=dev-1`. */
  readonly subject: string;
  readonly issuer: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Fingerprints of the DER form: hex pairs with colons between. */
  readonly sha256: string;
  readonly sha1: string;
}

/**
 * Reads the certificates of a PEM file, or the one of a DER file.
 * @param path names the file in failures
 * @throws Failure `no-input` when there is none, or one can't be read
 */
export function parseCertificates(content: Uint8Array, path: string): CertificateChain {
  const blocks = pemBlocks(content);
  const found = blocks.filter((block) => block.label === "CERTIFICATE");
  const sources = found.length > 0 ? found.map((block) => block.text) : [Buffer.from(content)];
  try {
    const [own, ...issuers] = sources.map((source) => new X509Certificate(source));
    if (own !== undefined) return [own, ...issuers];
  } catch (error) {
    if (found.length > 0) {
      throw new Failure("no-input", `certificate ${path} is damaged: ${messageOf(error)}`, { cause: error });
    }
  }
  throw new Failure(
    "no-input",
    `certificate ${path}: no X.509 certificate in it, expected PEM (BEGIN CERTIFICATE) or DER${heldInstead(blocks)}`,
  );
}

/** Subject, issuer, dates and fingerprints. */
export function certificateFacts(certificate: X509Certificate): CertificateFacts {
  return {
    subject: oneLine(certificate.subject),
    issuer: oneLine(certificate.issuer),
    notBefore: new Date(certificate.validFrom),
    notAfter: new Date(certificate.validTo),
    sha256: certificate.fingerprint256,
    sha1: certificate.fingerprint,
  };
}

/** Node's types promise a text, but it gives undefined for an empty subject. */
const Name = optional(string(), "");

/** Node's types promise one text; a subject may have several common names, or none. */
const CommonName = optional(
  union([
    string(),
    pipe(
      array(string()),
      transform((names) => names[0]),
    ),
  ]),
);

/** The subject's (first) common name, by which the hub knows the device. */
export function commonName(certificate: X509Certificate): string | undefined {
  return parse(CommonName, certificate.toLegacyObject().subject.CN);
}

/** Says whether a certificate is good at `nowMs`; undefined when it is. */
export function dateWarning(facts: CertificateFacts, nowMs: number): string | undefined {
  const now = new Date(nowMs).toISOString();
  if (nowMs > facts.notAfter.getTime()) {
    return `the certificate expired at ${facts.notAfter.toISOString()}; the clock says ${now}`;
  }
  if (nowMs < facts.notBefore.getTime()) {
    return `the certificate is not valid before ${facts.notBefore.toISOString()}; the clock says ${now}`;
  }
  return undefined;
}

function oneLine(name: string): string {
  return parse(Name, name).replaceAll("\n", ", ");
}
