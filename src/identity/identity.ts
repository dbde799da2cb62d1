import type { Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import type { CertificateFacts, Validity } from "./certificate.ts";
import type { Pkcs11Key, TokenKey } from "./device-key.ts";

/** How the TLS handshake proves who the board is. */
export type TlsCredentials =
  /** No client certificate: something else does, such as a signature in the headers. */
  | { readonly kind: "none" }
  /** This process has the key. Certificate with its issuers and key, both PEM. */
  | { readonly kind: "direct"; readonly cert: string; readonly key: string }
  /** A child does TLS, with a key that may never leave its chip. */
  | { readonly kind: "helper"; readonly cert: string; readonly key: HelperKey }
  /** OpenSSL's PKCS#11 engine signs in this process. */
  | { readonly kind: "engine"; readonly cert: string; readonly key: Pkcs11Key };

/** A key as a child that does TLS is given it. */
export type HelperKey = { readonly kind: "pem"; readonly pem: string } | TokenKey;

/** What one attempt to connect needs from the device's identity. */
export interface ConnectionCredentials {
  /** The endpoint that serves this way of authenticating, for a hub URL that names none. */
  readonly path: "/socket/websocket" | "/device-socket/websocket";
  readonly tls: TlsCredentials;
  /** Added to the upgrade request. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What people ask about an identity; holds no secret. */
export interface IdentityFacts {
  readonly identifier: string;
  /** Where the credentials come from, such as `file /etc/hublink/key.pem`. */
  readonly source: string;
  readonly certificate?: CertificateFacts;
  /** How the certificate stands by the board's clock: one that is not valid, or not for long, is an alarm. */
  readonly validity?: Validity;
  /** What may keep the board from its hub, such as dates, or new files that can't be used. */
  readonly warnings: readonly string[];
}

/** Who the board is to its hub, and how it proves it. */
export interface Identity {
  readonly identifier: string;
  describe(): IdentityFacts;
  /**
   * Credentials for one attempt, made anew for each: a signature ages, and files may have been replaced.
   * @param timeS the time to sign with, in seconds since 1970
   * @throws Failure when there are none that may be tried, such as after a refused PIN
   */
  connection(timeS: number): Promise<ConnectionCredentials>;
}

/** What an identity needs from the world. */
export interface IdentityDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** The root folder, `/` on a board: where the kernel's files are read. */
  readonly root: string;
  /** Takes a variable out of the environment, which children would inherit; gives it again when asked again. */
  readonly takeVariable: (name: string) => string | undefined;
  /** The board's serial number: its name when neither the configuration nor a certificate gives one. */
  readonly serialNumber: () => Promise<string | undefined>;
  /** The U-Boot environment, where a shared secret or a key may be kept. @throws Failure */
  readonly ubootVariables: () => Promise<ReadonlyMap<string, string>>;
}
