/**
 * The words of an identity: who the board is, its key in its several places, and what TLS gets of it. Secrets never
 * leave through `describe()`, which status and logs show.
 */
import type { KeyObject } from "node:crypto";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import type { CertificateFacts, SourcedCertificate, Validity } from "./certificate.ts";
import type { Pin } from "./pin.ts";

/** How the TLS handshake proves who the board is. */
export type TlsCredentials =
  /** Without a client certificate: something else proves it, such as a signature in the headers. */
  | { readonly kind: "none" }
  /** This process has the key. Certificate with its issuers and key, both PEM. */
  | { readonly kind: "direct"; readonly cert: string; readonly key: string }
  /** A child does TLS, with a key that may never leave its chip. */
  | { readonly kind: "helper"; readonly cert: string; readonly key: HelperKey }
  /** OpenSSL's PKCS#11 engine signs in this process. */
  | { readonly kind: "engine"; readonly cert: string; readonly key: Pkcs11Key };

/** A key in the form that a child which does TLS gets. */
export type HelperKey = { readonly kind: "pem"; readonly pem: string } | TokenKey;

/** Everything that one attempt to connect needs of the identity. */
export interface ConnectionCredentials {
  /** The endpoint that serves this way of authenticating, for a hub URL that names none. */
  readonly path: "/socket/websocket" | "/device-socket/websocket";
  readonly tls: TlsCredentials;
  /** Added to the upgrade request. */
  readonly headers: Readonly<Record<string, string>>;
}

/** An identity as people see it; it holds no secret. */
export interface IdentityFacts {
  /** Where the credentials come from, such as `file /etc/hublink/key.pem`. */
  readonly source: string;
  readonly certificate?: CertificateFacts;
  /** How the certificate stands by the board's clock: one that is not valid, or not for long, is an alarm. */
  readonly validity?: Validity;
  /** The warning about the certificate's dates, which is one of `warnings`. */
  readonly dateWarning?: string | undefined;
  /** Problems that may keep the board from its hub, such as dates, or new files that can't be used. */
  readonly warnings: readonly string[];
}

/** The board's name for its hub, and the credentials that prove it. */
export interface Identity {
  readonly identifier: string;
  describe(): IdentityFacts;
  /**
   * Credentials for one attempt. Each attempt gets its own: a signature ages, and files may have been replaced.
   * @param timeS the time to sign with, in seconds since 1970
   * @throws Failure when there are none that may be tried, such as after a refused PIN
   */
  connection(timeS: number): Promise<ConnectionCredentials>;
}

/** The parts of the agent that an identity uses. */
export interface IdentityDeps {
  readonly world: World;
  readonly log: Log;
  /** Removes a variable from the environment, since children would inherit it; remembers it for the next call. */
  readonly takeVariable: (name: string) => string | undefined;
  /** The U-Boot environment, where a shared secret or a key may be kept. @throws Failure */
  readonly ubootVariables: () => Promise<ReadonlyMap<string, string>>;
}

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
  /** `BEGIN TSS2 PRIVATE KEY`: useless without its TPM. */
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
  /** Files that are checked before each connection: when one is replaced, certificate and key are read again. */
  readonly files: readonly string[];
  certificate(): Promise<SourcedCertificate>;
  key(): Promise<DeviceKey>;
}
