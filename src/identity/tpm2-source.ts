/**
 * A key that only the board's TPM 2.0 can use: a file that is useless elsewhere, in the format of tpm2-openssl.
 */
import type { Config } from "../config/schema.ts";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { Failure } from "../platform/failure.ts";
import { heldInstead, pemBlocks, readCertificateFile } from "./certificate.ts";
import type { CredentialSource } from "./identity.ts";
import { readPublicFile } from "./files.ts";

/**
 * A key that only the board's TPM 2.0 can use. The TPM is not opened before it is used.
 * @throws Failure `config` when the key is named by a persistent handle, which stunnel can't use
 */
export function tpm2Source({ key: path, certFile, tcti }: Config["identity"]["tpm2"]): CredentialSource {
  if (/^0x[0-9a-f]+$/i.test(path)) {
    throw new Failure(
      "key_unsupported",
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
        throw new Failure("key_invalid", `key ${path}: no TSS2 PRIVATE KEY in it${heldInstead(blocks)}`);
      }
      return { kind: "tpm2", origin: `TPM 2.0 key ${path}`, pem: own.text, tcti };
    },
  };
}

const TPM_TIMEOUT_MS = 60_000;

/**
 * Makes a key (EC P-256) that only this TPM can use.
 * @returns the TSS2 PEM
 * @throws Failure when it made none
 */
export async function makeTpm2Key(tcti: string, clock: Clock): Promise<string> {
  const { exitCode, stdout } = await runCommand(
    [
      ...["openssl", "genpkey", "-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2"],
      ...["-algorithm", "EC", "-pkeyopt", "group:P-256"],
    ],
    { clock, timeoutMs: TPM_TIMEOUT_MS, env: { TPM2OPENSSL_TCTI: tcti } },
  );
  if (exitCode === 0 && stdout.includes("BEGIN TSS2 PRIVATE KEY")) return stdout;
  throw new Failure(
    "unavailable",
    `the TPM (${tcti}) made no key; is it reachable, and tpm2-openssl installed?`,
  );
}
