/**
 * Certificate authorities and certificates for tests, good ones and wrong ones, made in memory or written as
 * PEM files.
 */
import "reflect-metadata"; // @peculiar/x509 throws without it
import { webcrypto } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";

/** A certificate with its key, PEM. */
interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** The paths of a certificate and its key. */
export interface PairFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** A certificate authority that lives in memory. */
export interface Authority extends Pair {
  /** A server certificate for the names and IPv4 addresses. */
  server(names: readonly string[], validity?: Validity): Promise<Pair>;
  /** A client certificate; its common name is the device's identifier. */
  device(identifier: string, validity?: Validity): Promise<Pair>;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const DAY_MS = 86_400_000;
/** Good certificates are valid for boards whose clock shows 1970, and for those in the far future. */
const LONG: Validity = { notBefore: new Date(0), notAfter: new Date("2049-12-31T23:59:59Z") };

/** Makes an EC P-256 authority. */
export async function createAuthority(name: string): Promise<Authority> {
  const keys = await generateKeys();
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [name] }],
    keys,
    ...LONG,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const issue = async (
    commonName: string,
    usage: x509.ExtendedKeyUsage,
    validity: Validity,
    names: readonly string[],
  ): Promise<Pair> => {
    const own = await generateKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      subject: [{ CN: [commonName] }],
      issuer: root.subject,
      publicKey: own.publicKey,
      signingKey: keys.privateKey,
      ...validity,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(false),
        new x509.ExtendedKeyUsageExtension([usage]),
        ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names.map(generalName))]),
        await x509.SubjectKeyIdentifierExtension.create(own.publicKey),
        await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    return { cert: pem(certificate), key: await keyPem(own) };
  };
  return {
    cert: pem(root),
    key: await keyPem(keys),
    server: async (names, validity = LONG) =>
      issue(names[0] ?? "localhost", x509.ExtendedKeyUsage.serverAuth, validity, names),
    device: async (identifier, validity = LONG) =>
      issue(identifier, x509.ExtendedKeyUsage.clientAuth, validity, []),
  };
}

/** The files of {@link writeCertificates}. */
export interface CertificateFiles {
  readonly caFile: string;
  readonly server: PairFiles;
  /** The devices' certificates by identifier. */
  readonly devices: ReadonlyMap<string, PairFiles>;
  /** Certificates that must be refused; the device ones are for the first identifier. */
  readonly wrong: Readonly<
    Record<
      "unknownCa" | "expired" | "notYetValid",
      { readonly server: PairFiles; readonly device: PairFiles }
    >
  > & { readonly otherHost: { readonly server: PairFiles } };
}

/** Where {@link writeCertificates} puts its files. */
export function certificateFiles(dir: string, identifiers: readonly string[]): CertificateFiles {
  const pair = (name: string): PairFiles => ({
    certFile: join(dir, `${name}.pem`),
    keyFile: join(dir, `${name}.key`),
  });
  const both = (name: string): { server: PairFiles; device: PairFiles } => ({
    server: pair(`${name}-server`),
    device: pair(`${name}-device`),
  });
  return {
    caFile: pair("ca").certFile,
    server: pair("server"),
    devices: new Map(identifiers.map((identifier) => [identifier, pair(`device-${identifier}`)])),
    wrong: {
      unknownCa: both("unknown-ca"),
      expired: both("expired"),
      notYetValid: both("not-yet-valid"),
      otherHost: { server: pair("other-host") },
    },
  };
}

/**
 * Fills a folder with PEM files: an authority, a server certificate for localhost, 127.0.0.1 and
 * `extraNames`, one certificate per device, and wrong ones.
 * @param nowMs the time that "expired" and "not yet valid" are seen from
 */
export async function writeCertificates(
  dir: string,
  identifiers: readonly string[],
  extraNames: readonly string[] = [],
  nowMs = Date.now(),
): Promise<CertificateFiles> {
  await mkdir(dir, { recursive: true });
  const files = certificateFiles(dir, identifiers);
  const [authority, stranger] = await Promise.all([
    createAuthority("hub test CA"),
    createAuthority("unknown CA"),
  ]);
  const names = ["localhost", "127.0.0.1", ...extraNames];
  const first = identifiers[0] ?? "device";
  const past = { notBefore: new Date(nowMs - 20 * DAY_MS), notAfter: new Date(nowMs - 10 * DAY_MS) };
  const future = { notBefore: new Date(nowMs + 10 * DAY_MS), notAfter: new Date(nowMs + 20 * DAY_MS) };
  for (const [to, by, validity] of [
    [files.wrong.unknownCa, stranger, undefined],
    [files.wrong.expired, authority, past],
    [files.wrong.notYetValid, authority, future],
  ] as const) {
    await savePair(to.server, await by.server(names, validity));
    await savePair(to.device, await by.device(first, validity));
  }
  for (const [identifier, to] of files.devices) await savePair(to, await authority.device(identifier));
  await savePair({ certFile: files.caFile, keyFile: join(dir, "ca.key") }, authority);
  await savePair(files.server, await authority.server(names));
  await savePair(files.wrong.otherHost.server, await authority.server(["other-host.test"]));
  return files;
}

async function savePair({ certFile, keyFile }: PairFiles, { cert, key }: Pair): Promise<void> {
  await writeFile(certFile, cert);
  await writeFile(keyFile, key, { mode: 0o600 });
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

function generalName(name: string): { type: "ip" | "dns"; value: string } {
  return { type: /^\d+(\.\d+){3}$/.test(name) ? "ip" : "dns", value: name };
}

function pem(certificate: x509.X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}

async function keyPem(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  return `${x509.PemConverter.encode(pkcs8, "PRIVATE KEY")}\n`;
}
