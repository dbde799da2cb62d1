import type { Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import type { CertificateFacts } from "./certificate.ts";

/** What one attempt to connect needs from the device's identity. */
export interface ConnectionCredentials {
  /** The endpoint that serves this way of authenticating, for a hub URL that names none. */
  readonly path: "/socket/websocket" | "/device-socket/websocket";
  /** The client certificate with its issuers and its key, both PEM; empty without one. */
  readonly tls: { readonly cert?: string; readonly key?: string };
  /** Added to the upgrade request. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What people ask about an identity; holds no secret. */
export interface IdentityFacts {
  readonly identifier: string;
  /** Where the credentials come from, such as `file /etc/hublink/key.pem`. */
  readonly source: string;
  readonly certificate?: CertificateFacts;
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
   */
  connection(timeS: number): Promise<ConnectionCredentials>;
}

/** What an identity needs from the world. */
export interface IdentityDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** The board's serial number: its name when neither the configuration nor a certificate gives one. */
  readonly serialNumber: () => Promise<string | undefined>;
  /** The U-Boot environment, where a shared secret may be kept. @throws Failure */
  readonly ubootVariables: () => Promise<ReadonlyMap<string, string>>;
}
