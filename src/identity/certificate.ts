/**
 * X.509 certificates: read from PEM or DER, and what people ask about them. A wrong date is a warning and never an
 * error: the board may have no clock, and the hub is the judge.
 */
import { X509Certificate } from "node:crypto";
import * as v from "valibot";
import { Failure, messageOf } from "../platform/failure.ts";
import { readPublicFile } from "./files.ts";

/** Certificates in the order of their file; the first is the device's own, the rest are its issuers. */
export type CertificateChain = readonly [X509Certificate, ...X509Certificate[]];

/** A certificate as people compare it. */
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
      throw new Failure("certificate_invalid", `certificate ${path} is damaged: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }
  throw new Failure(
    "certificate_invalid",
    `certificate ${path}: no X.509 certificate in it, expected PEM (BEGIN CERTIFICATE) or DER${heldInstead(blocks)}`,
  );
}

/** The certificates of a file. @throws Failure as {@link parseCertificates}, or when it can't be read */
export async function readCertificateFile(path: string): Promise<SourcedCertificate> {
  return { chain: parseCertificates(await readPublicFile("certificate", path), path), origin: path };
}

/**
 * Says that a key and a certificate are not a pair.
 * @param key the key's origin
 * @param where the certificate's origin, where it is known
 */
export function keyMismatch(key: string, where?: string): Failure {
  const certificate = `the (first) certificate${where === undefined ? "" : ` in ${where}`}`;
  return new Failure(
    "key_mismatch",
    `${key} does not belong to ${certificate}; they must be made for each other`,
  );
}

/** All of a chain, PEM. */
export function chainToPem(chain: CertificateChain): string {
  return chain.map((certificate) => certificate.toString()).join("");
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

/** Node's types promise a text, but for an empty subject it is undefined. */
const Name = v.optional(v.string(), "");

/** Node's types promise one text; a subject may have several common names, or none. */
const CommonName = v.optional(
  v.union([
    v.string(),
    v.pipe(
      v.array(v.string()),
      v.transform((names) => names[0]),
    ),
  ]),
);

/** The subject's (first) common name, by which the hub knows the device. */
export function commonName(certificate: X509Certificate): string | undefined {
  return v.parse(CommonName, certificate.toLegacyObject().subject.CN);
}

/** How a certificate stands at a time. */
export type Validity = "valid" | "expiring" | "expired" | "not-yet-valid";

const DAY_MS = 86_400_000;
/** A certificate is expiring in its last 30 days, or in the last third of a shorter life. */
const EXPIRING_MS = 30 * DAY_MS;

/** How a certificate stands at `nowMs`, the board's clock in ms since 1970. */
export function validityOf({ notBefore, notAfter }: CertificateFacts, nowMs: number): Validity {
  if (nowMs > notAfter.getTime()) return "expired";
  if (nowMs < notBefore.getTime()) return "not-yet-valid";
  const lifeMs = notAfter.getTime() - notBefore.getTime();
  return notAfter.getTime() - nowMs < Math.min(EXPIRING_MS, lifeMs / 3) ? "expiring" : "valid";
}

/** Says what is wrong with a certificate's dates at `nowMs`; undefined when nothing is. */
export function dateWarning(facts: CertificateFacts, nowMs: number): string | undefined {
  const now = `the clock says ${new Date(nowMs).toISOString()}`;
  const end = facts.notAfter.toISOString();
  switch (validityOf(facts, nowMs)) {
    case "expired":
      return `the certificate expired at ${end}; ${now}`;
    case "not-yet-valid":
      return `the certificate is not valid before ${facts.notBefore.toISOString()}; ${now}`;
    case "expiring":
      return `the certificate expires at ${end}, in ${Math.floor((facts.notAfter.getTime() - nowMs) / DAY_MS)} days; renew it`;
    case "valid":
      return undefined;
  }
}

function oneLine(name: string): string {
  return v.parse(Name, name).replaceAll("\n", ", ");
}

/** One `-----BEGIN label-----` … `-----END label-----` of a PEM file. */
export interface PemBlock {
  readonly label: string;
  /** The block as it stands in the file, its header and footer included. */
  readonly text: string;
}

/** A PEM block: its label, and what is between header and footer. A header without its footer ends at the next dashes. */
export const PEM_BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----((?:(?!-----)[^])*)-----END \1-----/g;

/** The PEM blocks of a file in their order; none when it is not PEM. */
export function pemBlocks(content: Uint8Array): PemBlock[] {
  const text = Buffer.from(content).toString("latin1");
  return [...text.matchAll(PEM_BLOCK)].map(([block, label = ""]) => ({ label, text: `${block}\n` }));
}

/** Lists what PEM blocks hold, for an error message: `; it holds: PRIVATE KEY`. */
export function heldInstead(blocks: readonly PemBlock[]): string {
  return blocks.length === 0 ? "" : `; it holds: ${blocks.map((block) => block.label).join(", ")}`;
}

/** A certificate chain and where it came from. */
export interface SourcedCertificate {
  readonly chain: CertificateChain;
  /** For people: `/etc/hublink/cert.pem`. */
  readonly origin: string;
}
