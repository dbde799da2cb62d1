import { messageOf } from "../platform/failure.ts";
import { certificateFacts, commonName, dateWarning, validityOf } from "./certificate.ts";
import type { CredentialSource } from "./credential-source.ts";
import { resolveIdentifier } from "./identifier.ts";
import type { Identity, IdentityDeps, IdentityFacts } from "./identity.ts";
import { pinRefused } from "./pin.ts";
import { reloaded } from "./reload.ts";
import { tlsCredentials, type TlsRoute } from "./tls-credentials.ts";

/**
 * A client certificate and its key; read again at the next connection when their files have changed.
 * @param identifier `identity.identifier`
 * @throws Failure that names what is at fault
 */
export async function certificateIdentity(
  identifier: string,
  route: TlsRoute,
  source: CredentialSource,
  deps: IdentityDeps,
): Promise<Identity> {
  const { clock, log } = deps;
  const credentials = await reloaded(source.files, async () => {
    const certificate = await source.certificate();
    const key = await source.key();
    const [own] = certificate.chain;
    const name = commonName(own);
    return {
      tls: tlsCredentials(route, certificate, key),
      key,
      own,
      commonName: name,
      identifier: await resolveIdentifier(identifier, { ...deps, commonName: name }),
    };
  });

  const describe = (): IdentityFacts => {
    const { value, broken } = credentials;
    const certificate = certificateFacts(value.own);
    const warnings = [
      dateWarning(certificate, clock.now()),
      value.commonName !== value.identifier &&
        `the certificate's common name is ${value.commonName ?? "missing"}, the identifier ${value.identifier}; the hub goes by the certificate`,
      broken !== undefined && `still on the old certificate and key: ${messageOf(broken)}`,
    ].filter((warning) => typeof warning === "string");
    const validity = validityOf(certificate, clock.now());
    return { identifier: value.identifier, source: source.name, certificate, validity, warnings };
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
      if (key.kind === "pkcs11" && key.pin?.refused === true) throw pinRefused(key.origin, key.pin);
      return { path: "/socket/websocket", tls, headers: {} };
    },
  };
}
