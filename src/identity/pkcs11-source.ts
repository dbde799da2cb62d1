import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { Failure } from "../platform/failure.ts";
import { parseCertificates, readCertificateFile } from "./certificate.ts";
import type { CredentialSource, SourcedCertificate } from "./credential-source.ts";
import { readPin } from "./pin.ts";
import { parsePkcs11Uri, type Pkcs11Uri } from "./pkcs11-uri.ts";

/** `[identity.pkcs11]` */
export interface Pkcs11Config {
  readonly module: string;
  readonly uri: string;
  /** Empty: the token asks for no PIN. */
  readonly pin_file: string;
  /** Empty: the certificate is in the token, under the key's id or label. */
  readonly cert_file: string;
}

const TOOL_TIMEOUT_MS = 30_000;

/**
 * A key that stays in a PKCS#11 token. The token is not opened before it is used.
 * @throws Failure `config` when module or URI are of no use
 */
export function pkcs11Source(config: Pkcs11Config, clock: Clock): CredentialSource {
  const { module, pin_file: pinFile, cert_file: certFile } = config;
  // It becomes a value in stunnel's and OpenSSL's configurations, which are lines of text.
  if (!/^\/[\x21-\x7e]+$/.test(module)) {
    throw new Failure("config", "identity.pkcs11.module is not the full path of a library, without blanks");
  }
  const uri = parsePkcs11Uri(config.uri);
  return {
    name: uri.path,
    files: [certFile, pinFile].filter((path) => path !== ""),
    certificate: async () =>
      certFile === "" ? certificateInToken(module, uri, clock) : readCertificateFile(certFile),
    key: async () => ({
      kind: "pkcs11",
      origin: uri.path,
      module,
      uri: uri.path,
      pin: pinFile === "" ? undefined : await readPin(pinFile, `${module} ${uri.path}`),
    }),
  };
}

/** Certificates are public objects: OpenSC's tool reads them without the PIN. */
async function certificateInToken(module: string, uri: Pkcs11Uri, clock: Clock): Promise<SourcedCertificate> {
  const origin = `${uri.path} in the token`;
  const { exitCode, stdoutBytes, stderr } = await runCommand(
    ["pkcs11-tool", "--module", module, ...selection(uri), "--read-object", "--type", "cert"],
    { clock, timeoutMs: TOOL_TIMEOUT_MS },
  );
  if (exitCode === 0 && stdoutBytes.length > 0)
    return { chain: parseCertificates(stdoutBytes, origin), origin };
  const reason = stderr.match(/^error: .*$/m)?.[0] ?? "pkcs11-tool gave none";
  throw new Failure(
    "no-input",
    `certificate ${origin}: ${reason}; write it there with pkcs11-tool, or set identity.pkcs11.cert_file`,
  );
}

function selection({ token, id, object }: Pkcs11Uri): string[] {
  return [
    ...(token === undefined ? [] : ["--token-label", token]),
    ...(id === undefined ? [] : ["--id", id.toString("hex")]),
    ...(object === undefined ? [] : ["--label", object]),
  ];
}
