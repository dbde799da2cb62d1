import { createSecureContext } from "node:tls";
import { readSecretFile } from "../config/secret-file.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import {
  type CertificateChain,
  certificateFacts,
  commonName,
  dateWarning,
  parseCertificates,
} from "./certificate.ts";
import { readKeyFile, readPublicFile } from "./credential-file.ts";
import { resolveIdentifier } from "./identifier.ts";
import type { Identity, IdentityDeps, IdentityFacts } from "./identity.ts";
import { keyToPem, parsePrivateKey } from "./private-key.ts";
import { reloaded } from "./reload.ts";

/** `[identity.file]`: paths; the last is empty for a key that is not encrypted. */
export interface FileIdentityConfig {
  readonly cert_file: string;
  readonly key_file: string;
  readonly key_passphrase_file: string;
}

/**
 * A client certificate and its key, in files; read again at the next connection when they have changed.
 * @param identifier `identity.identifier`
 * @throws Failure that names the file at fault
 */
export async function fileIdentity(
  identifier: string,
  config: FileIdentityConfig,
  deps: IdentityDeps,
): Promise<Identity> {
  const { clock, log } = deps;
  for (const name of ["cert_file", "key_file"] as const) {
    if (config[name] === "") throw new Failure("config", `identity.file.${name} is not set`);
  }
  const paths = [config.cert_file, config.key_file, config.key_passphrase_file].filter((path) => path !== "");
  const credentials = await reloaded(paths, async () => readCredentials(identifier, config, deps));

  const describe = (): IdentityFacts => {
    const { value, broken } = credentials;
    const certificate = certificateFacts(value.own);
    const warnings = [
      dateWarning(certificate, clock.now()),
      value.commonName !== value.identifier &&
        `the certificate's common name is ${value.commonName ?? "missing"}, the identifier ${value.identifier}; the hub goes by the certificate`,
      broken !== undefined && `still on the old certificate and key: ${messageOf(broken)}`,
    ].filter((warning) => typeof warning === "string");
    return { identifier: value.identifier, source: `file ${config.key_file}`, certificate, warnings };
  };
  const report = (): void => {
    for (const warning of describe().warnings) log.warn(warning);
  };

  report();
  return {
    get identifier() {
      return credentials.value.identifier;
    },
    describe,
    async connection() {
      if (await credentials.refresh()) {
        log.info("certificate or key file has changed");
        report();
      }
      const { cert, key } = credentials.value;
      return { path: "/socket/websocket", tls: { cert, key }, headers: {} };
    },
  };
}

async function readCredentials(identifier: string, config: FileIdentityConfig, deps: IdentityDeps) {
  const { cert_file: certFile, key_file: keyFile, key_passphrase_file: passphraseFile } = config;
  const chain = parseCertificates(await readPublicFile("certificate", certFile), certFile);
  const passphrase =
    passphraseFile === "" ? undefined : await readSecretFile(passphraseFile, "passphrase file");
  const privateKey = parsePrivateKey(await readKeyFile(keyFile), keyFile, passphrase);
  const [own] = chain;
  if (!own.checkPrivateKey(privateKey)) {
    throw new Failure(
      "config",
      `key ${keyFile} does not belong to the (first) certificate in ${certFile}; they must be made for each other`,
    );
  }
  const name = commonName(own);
  const credentials = { cert: chainToPem(chain), key: keyToPem(privateKey) };
  try {
    createSecureContext(credentials);
  } catch (error) {
    // Such as a key too short for OpenSSL's security level.
    throw new Failure(
      "config",
      `TLS does not take certificate ${certFile} with key ${keyFile}: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
  return {
    ...credentials,
    own,
    commonName: name,
    identifier: await resolveIdentifier(identifier, { ...deps, commonName: name }),
  };
}

function chainToPem(chain: CertificateChain): string {
  return chain.map((certificate) => certificate.toString()).join("");
}
