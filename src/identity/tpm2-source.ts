import { Failure } from "../platform/failure.ts";
import { heldInstead, pemBlocks, readCertificateFile } from "./certificate.ts";
import type { CredentialSource } from "./device-key.ts";
import { readPublicFile } from "./secret-file.ts";

/** `[identity.tpm2]` */
export interface Tpm2Config {
  /** A TSS2 PEM file. */
  readonly key: string;
  readonly certFile: string;
  readonly tcti: string;
}

/**
 * A key that only the board's TPM 2.0 can use. The TPM is not opened before it is used.
 * @throws Failure `config` when the key is named by a persistent handle, which stunnel can't use
 */
export function tpm2Source({ key: path, certFile, tcti }: Tpm2Config): CredentialSource {
  if (/^0x[0-9a-f]+$/i.test(path)) {
    throw new Failure(
      "config",
      `identity.tpm2.key = "${path}" is a handle, which stunnel can't use; name a TSS2 PEM file, as \`hublink identity --generate\` makes it`,
    );
  }
  return {
    name: `TPM 2.0 key ${path}`,
    files: [certFile, path],
    certificate: async () => readCertificateFile(certFile),
    async key() {
      const blocks = pemBlocks(await readPublicFile("key", path));
      const own = blocks.find(({ label }) => label === "TSS2 PRIVATE KEY");
      if (own === undefined) {
        throw new Failure("no_input", `key ${path}: no TSS2 PRIVATE KEY in it${heldInstead(blocks)}`);
      }
      return { kind: "tpm2", origin: `TPM 2.0 key ${path}`, pem: own.text, tcti };
    },
  };
}
