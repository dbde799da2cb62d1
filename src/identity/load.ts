/**
 * Loads the identity that the configuration names. Certificate and key are checked against each other here, before
 * the first connection, and read again when their files change; while new files can't be used, the old ones stay in
 * use, since a half-finished renewal must not cut the board off.
 */
import { createSecureContext } from "node:tls";
import type { Config } from "../config/schema.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import {
  certificateFacts,
  chainToPem,
  commonName,
  dateWarning,
  keyMismatch,
  type SourcedCertificate,
  validityOf,
} from "./certificate.ts";
import { credentialSource } from "./credential-source.ts";
import { resolveIdentifier } from "./identifier.ts";
import type {
  CredentialSource,
  DeviceKey,
  Identity,
  IdentityDeps,
  IdentityFacts,
  TlsCredentials,
} from "./identity.ts";
import { keyToPem } from "./private-key.ts";
import { Reloaded } from "./files.ts";
import { sharedSecretIdentity } from "./shared-secret.ts";

/**
 * Loads the identity that the configuration names, and checks that it can be used.
 * @throws Failure that names the file, variable or setting at fault
 */
export async function loadIdentity(config: Config["identity"], deps: IdentityDeps): Promise<Identity> {
  const source = credentialSource(config, deps);
  return source === undefined
    ? sharedSecretIdentity(config.identifier, config.sharedSecret, deps)
    : certificateIdentity(config.identifier, config.tls, source, deps);
}

/**
 * A client certificate and its key; read again at the next connection when their files have changed.
 * @param identifier `identity.identifier`
 * @throws Failure that names what is at fault
 */
async function certificateIdentity(
  identifier: string,
  route: Config["identity"]["tls"],
  source: CredentialSource,
  deps: IdentityDeps,
): Promise<Identity> {
  const { world, log } = deps;
  const { clock } = world;
  const credentials = await Reloaded.open(source.files, async () => {
    const certificate = await source.certificate();
    const key = await source.key();
    const [own] = certificate.chain;
    const name = commonName(own);
    return {
      tls: tlsCredentials(route, certificate, key),
      key,
      own,
      commonName: name,
      identifier: await resolveIdentifier(identifier, deps.world, name),
    };
  });

  const describe = (): IdentityFacts => {
    const { value, broken } = credentials;
    const certificate = certificateFacts(value.own);
    const nowMs = clock.now();
    const dates = dateWarning(certificate, nowMs);
    const warnings = [
      dates,
      value.commonName !== value.identifier &&
        `the certificate's common name is ${value.commonName ?? "missing"}, the identifier ${value.identifier}; the hub goes by the certificate`,
      broken !== undefined && `still on the old certificate and key: ${messageOf(broken)}`,
    ].filter((warning) => typeof warning === "string");
    const validity = validityOf(certificate, nowMs);
    return { source: source.name, certificate, validity, dateWarning: dates, warnings };
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
      const { tls, key } = credentials.value;
      if (key.kind === "pkcs11") key.pin?.assertUsable(key.origin);
      return { path: "/socket/websocket", tls, headers: {} };
    },
  };
}

/**
 * Certificate and key in the form that `identity.tls` needs.
 * @throws Failure `config` when key and certificate don't belong together, or that route can't use the key
 */
function tlsCredentials(
  route: Config["identity"]["tls"],
  { chain, origin }: SourcedCertificate,
  key: DeviceKey,
): TlsCredentials {
  const cert = chainToPem(chain);
  if (route === "engine") {
    if (key.kind !== "pkcs11") throw notFor(route, key, 'only a key in a PKCS#11 token has one; use "auto"');
    return { kind: "engine", cert, key };
  }
  if (key.kind !== "readable") {
    if (route === "direct") throw notFor(route, key, 'that key can\'t be read; use "auto"');
    return { kind: "helper", cert, key };
  }
  if (!chain[0].checkPrivateKey(key.key)) throw keyMismatch(key.origin, origin);
  const pem = keyToPem(key.key);
  try {
    createSecureContext({ cert, key: pem });
  } catch (error) {
    // An example is a key too short for OpenSSL's security level.
    throw new Failure(
      "key_unsupported",
      `TLS does not take certificate ${origin} with ${key.origin}: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
  return route === "helper"
    ? { kind: "helper", cert, key: { kind: "pem", pem } }
    : { kind: "direct", cert, key: pem };
}

function notFor(route: Config["identity"]["tls"], key: DeviceKey, why: string): Failure {
  return new Failure("key_unsupported", `identity.tls = "${route}" with ${key.origin}: ${why}`);
}
