import type { CertificateChain } from "./certificate.ts";
import type { DeviceKey } from "./device-key.ts";

/** Where a certificate and its key live. Every read may throw a Failure that names what is at fault. */
export interface CredentialSource {
  /** For people, such as `file /etc/hublink/key.pem`. */
  readonly name: string;
  /** Files to look at before each connection; when one is replaced, both are read again. */
  readonly files: readonly string[];
  certificate(): Promise<SourcedCertificate>;
  key(): Promise<DeviceKey>;
}

export interface SourcedCertificate {
  readonly chain: CertificateChain;
  /** For people: `/etc/hublink/cert.pem`. */
  readonly origin: string;
}
