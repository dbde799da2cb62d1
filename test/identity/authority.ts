/** A certificate authority in memory, for tests. */
import "reflect-metadata";
import { createHash, KeyObject, webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

const ALGORITHMS = {
  "EC P-256": { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  "EC P-384": { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" },
  "RSA 2048": rsa(2048),
  "RSA 512": rsa(512),
};

export type KeyKind = keyof typeof ALGORITHMS;

/** Those that the agent takes. */
export const keyKinds: readonly KeyKind[] = ["EC P-256", "EC P-384", "RSA 2048"];

/** A certificate with its private key. */
export interface Issued {
  readonly pem: string;
  readonly der: Buffer;
  readonly key: KeyObject;
  readonly keys: CryptoKeyPair;
  readonly publicKeyPem: string;
  /** Fingerprints, as OpenSSL writes them. */
  readonly sha256: string;
  readonly sha1: string;
}

/** Default: from yesterday to tomorrow. */
interface Dates {
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

interface CertificateRequest extends Dates {
  /** Such as `CN=dev-1`. */
  readonly subject: string;
  readonly kind?: KeyKind;
  readonly dnsName?: string;
}

/** A certificate authority that lives as long as a test. */
export interface Authority {
  readonly pem: string;
  issue(request: CertificateRequest): Promise<Issued>;
  /** A certificate, PEM, for an EC P-256 key that only its owner has. */
  certify(publicKey: KeyObject, subject: string): Promise<string>;
  /** An authority of its own, signed by this one. */
  subordinate(subject: string, valid?: Dates): Promise<Authority>;
}

/** @param options `keys`: its own, default new ones */
export async function createAuthority(
  subject = "CN=Test CA",
  { keys: given, ...valid }: Dates & { readonly keys?: CryptoKeyPair } = {},
): Promise<Authority> {
  const keys = given ?? (await generate("EC P-256"));
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: subject,
    keys,
    ...dates(valid),
    extensions: [new x509.BasicConstraintsExtension(true)],
  });
  return authority(certificate, keys);
}

function authority(certificate: x509.X509Certificate, keys: CryptoKeyPair): Authority {
  const sign = async (
    publicKey: webcrypto.CryptoKey,
    request: CertificateRequest,
    extensions: x509.Extension[],
  ): Promise<x509.X509Certificate> =>
    x509.X509CertificateGenerator.create({
      subject: request.subject,
      issuer: certificate.subject,
      publicKey,
      signingKey: keys.privateKey,
      ...dates(request),
      extensions,
    });
  return {
    pem: pemOf(certificate),
    async issue(request) {
      const own = await generate(request.kind ?? "EC P-256");
      const names =
        request.dnsName === undefined
          ? []
          : [new x509.SubjectAlternativeNameExtension([{ type: "dns", value: request.dnsName }])];
      const issued = await sign(own.publicKey, request, names);
      const der = Buffer.from(issued.rawData);
      return {
        pem: pemOf(issued),
        der,
        key: KeyObject.from(own.privateKey),
        keys: own,
        publicKeyPem: KeyObject.from(own.publicKey).export({ format: "pem", type: "spki" }).toString(),
        sha256: fingerprint("sha256", der),
        sha1: fingerprint("sha1", der),
      };
    },
    async certify(publicKey, subject) {
      const spki = publicKey.export({ format: "der", type: "spki" });
      const key = await webcrypto.subtle.importKey("spki", spki, ALGORITHMS["EC P-256"], true, ["verify"]);
      return pemOf(await sign(key, { subject }, []));
    },
    async subordinate(subject, valid = {}) {
      const own = await generate("EC P-256");
      const issued = await sign(own.publicKey, { subject, ...valid }, [
        new x509.BasicConstraintsExtension(true),
      ]);
      return authority(issued, own);
    },
  };
}

type CryptoKeyPair = webcrypto.CryptoKeyPair;

async function generate(kind: KeyKind): Promise<CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHMS[kind], true, ["sign", "verify"]);
}

function dates({ notBefore, notAfter }: Dates): { notBefore: Date; notAfter: Date } {
  return {
    notBefore: notBefore ?? new Date(Date.now() - 86_400_000),
    notAfter: notAfter ?? new Date(Date.now() + 86_400_000),
  };
}

function pemOf(certificate: x509.X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}

function rsa(modulusLength: number) {
  const publicExponent = new Uint8Array([1, 0, 1]);
  return { name: "RSASSA-PKCS1-v1_5", modulusLength, publicExponent, hash: "SHA-256" };
}

function fingerprint(hash: "sha256" | "sha1", der: Buffer): string {
  const pairs = createHash(hash).update(der).digest("hex").toUpperCase().match(/../g) ?? [];
  return pairs.join(":");
}
