import type { KeyObject } from "node:crypto";
import { stat } from "node:fs/promises";
import { Failure } from "../platform/failure.ts";
import type { SourcedCertificate } from "./certificate.ts";
import { readSecretFile } from "./secret-file.ts";

/** A private key that this process has read. */
export interface ReadableKey {
  readonly kind: "readable";
  /** For people: `key /etc/hublink/key.pem`. */
  readonly origin: string;
  readonly key: KeyObject;
}

/** A private key in a PKCS#11 token. */
export interface Pkcs11Key {
  readonly kind: "pkcs11";
  /** For people: the URI, without a PIN. */
  readonly origin: string;
  /** Path of the token's library. */
  readonly module: string;
  /** RFC 7512, without a PIN. */
  readonly uri: string;
  /** Undefined for a token that asks for none. */
  readonly pin: Pin | undefined;
}

/** A private key that only a TPM 2.0 can unwrap. */
export interface Tpm2Key {
  readonly kind: "tpm2";
  /** For people: the file. */
  readonly origin: string;
  /** `BEGIN TSS2 PRIVATE KEY`: of no use without its TPM. */
  readonly pem: string;
  /** How the TPM is reached, such as `device:/dev/tpmrm0`. */
  readonly tcti: string;
}

/** A private key that stays in its chip. */
export type TokenKey = Pkcs11Key | Tpm2Key;

/** The key with which the board proves who it is. */
export type DeviceKey = ReadableKey | TokenKey;

/** Where a certificate and its key live. Every read may throw a Failure that names what is at fault. */
export interface CredentialSource {
  /** For people, such as `file /etc/hublink/key.pem`. */
  readonly name: string;
  /** Files to look at before each connection; when one is replaced, both are read again. */
  readonly files: readonly string[];
  certificate(): Promise<SourcedCertificate>;
  key(): Promise<DeviceKey>;
}

/** A token's PIN, which is tried once: tokens lock for good after a few wrong ones. */
export interface Pin {
  readonly text: string;
  readonly file: string;
  /** The token has refused it. */
  readonly refused: boolean;
  /** Notes that the token has refused it. */
  refuse(): void;
}

/** Versions of PIN files that were refused, until this process ends. */
const refused = new Set<string>();

/**
 * Reads the PIN of a token.
 * @param token whose PIN it is: another token may take the same
 * @throws Failure that names the file
 */
export async function readPin(file: string, token: string): Promise<Pin> {
  const text = await readSecretFile("PIN file", file);
  // It becomes a value in stunnel's and OpenSSL's configurations, which are lines of text.
  if (!/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(text)) {
    throw new Failure(
      "config",
      `PIN file ${file}: expected one line of ASCII, not empty and without blanks at its ends`,
    );
  }
  const { ino, ctimeNs } = await stat(file, { bigint: true });
  const version = `${token}\n${file}\n${ino}\n${ctimeNs}`;
  return {
    text,
    file,
    get refused() {
      return refused.has(version);
    },
    refuse: () => void refused.add(version),
  };
}

/** Says that a PIN is not tried again. */
export function pinRefused(origin: string, { file }: Pin): Failure {
  return new Failure(
    "config",
    `${origin}: the token refused the PIN in ${file}; it is not tried again until the file changes or hublink starts anew`,
  );
}
