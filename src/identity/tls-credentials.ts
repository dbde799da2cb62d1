import { createSecureContext } from "node:tls";
import { Failure, messageOf } from "../platform/failure.ts";
import { chainToPem } from "./certificate.ts";
import type { SourcedCertificate } from "./credential-source.ts";
import type { DeviceKey } from "./device-key.ts";
import { keyToPem } from "./private-key.ts";
import type { TlsCredentials } from "./identity.ts";

/** `identity.tls`: who does TLS with the key. */
export type TlsRoute = "auto" | "direct" | "helper" | "engine";

/**
 * Puts certificate and key into the hands of whoever does TLS with them.
 * @throws Failure `config` when key and certificate don't belong together, or the route has no way to the key
 */
export function tlsCredentials(
  route: TlsRoute,
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
  if (!chain[0].checkPrivateKey(key.key)) {
    throw new Failure(
      "config",
      `${key.origin} does not belong to the (first) certificate in ${origin}; they must be made for each other`,
    );
  }
  const pem = keyToPem(key.key);
  try {
    createSecureContext({ cert, key: pem });
  } catch (error) {
    // Such as a key too short for OpenSSL's security level.
    throw new Failure(
      "config",
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

function notFor(route: TlsRoute, key: DeviceKey, why: string): Failure {
  return new Failure("config", `identity.tls = "${route}" with ${key.origin}: ${why}`);
}
