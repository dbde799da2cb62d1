import type { KeyObject } from "node:crypto";
import type { Pin } from "./pin.ts";

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
