import { Failure } from "../platform/failure.ts";
import { commonName } from "./certificate.ts";
import type { CredentialSource } from "./credential-source.ts";
import { resolveIdentifier } from "./identifier.ts";
import type { IdentityDeps } from "./identity.ts";
import { credentialSource, type IdentityConfig } from "./load.ts";
import { signingKey } from "./signing-key.ts";

/**
 * A request for the device's certificate, signed with its own key; also on a board that has no certificate yet.
 * @returns PEM
 * @throws Failure that names what is at fault
 */
export async function certificateRequestOf(config: IdentityConfig, deps: IdentityDeps): Promise<string> {
  const source = credentialSource(config, deps);
  if (source === undefined) {
    throw new Failure(
      "usage",
      "a shared secret needs no certificate; set identity.source to where the key lives",
    );
  }
  const key = signingKey(await source.key(), deps.clock);
  const identifier = await resolveIdentifier(config.identifier, {
    ...deps,
    commonName: await presentName(source),
  });
  const { certificateRequest } = await import("./csr.ts"); // its ASN.1 library is for this alone
  return await certificateRequest(identifier, key);
}

/** The name in the certificate that is to be renewed, if there is one. */
async function presentName(source: CredentialSource): Promise<string | undefined> {
  try {
    const { chain } = await source.certificate();
    return commonName(chain[0]);
  } catch (error) {
    if (error instanceof Failure && error.kind === "no-input") return undefined;
    throw error;
  }
}
