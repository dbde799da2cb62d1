import { readSecretFile } from "./owner-only.ts";
import { Failure } from "../platform/failure.ts";
import { readCertificateFile } from "./certificate.ts";
import { readKeyFile } from "./secret-file.ts";
import type { CredentialSource } from "./credential-source.ts";
import { parsePrivateKey } from "./private-key.ts";

/** `[identity.file]`: paths; the last is empty for a key that is not encrypted. */
export interface FileConfig {
  readonly cert_file: string;
  readonly key_file: string;
  readonly key_passphrase_file: string;
}

/** Certificate and key in files. @throws Failure when one is not named */
export function fileSource(config: FileConfig): CredentialSource {
  const { cert_file: certFile, key_file: keyFile, key_passphrase_file: passphraseFile } = config;
  for (const name of ["cert_file", "key_file"] as const) {
    if (config[name] === "") throw new Failure("config", `identity.file.${name} is not set`);
  }
  return {
    name: `file ${keyFile}`,
    files: [certFile, keyFile, passphraseFile].filter((path) => path !== ""),
    certificate: async () => readCertificateFile(certFile),
    async key() {
      const passphrase =
        passphraseFile === "" ? undefined : await readSecretFile(passphraseFile, "passphrase file");
      return {
        kind: "readable",
        origin: `key ${keyFile}`,
        key: parsePrivateKey(
          await readKeyFile(keyFile),
          keyFile,
          passphrase,
          "identity.file.key_passphrase_file",
        ),
      };
    },
  };
}
