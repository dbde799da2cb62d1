/**
 * Certificate requests (PKCS#10, RFC 2986) for the device's own key, wherever that lives. Only `hublink identity
 * --csr` loads this file: its ASN.1 library would cost the daemon memory.
 */
import { CertificationRequest, CertificationRequestInfo } from "@peculiar/asn1-csr";
import { AsnConvert, AsnNullConverter } from "@peculiar/asn1-schema";
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  Name,
  RelativeDistinguishedName,
  SubjectPublicKeyInfo,
} from "@peculiar/asn1-x509";
import type { Config } from "../config/schema.ts";
import { Failure } from "../platform/failure.ts";
import { commonName } from "./certificate.ts";
import { credentialSource } from "./credential-source.ts";
import { resolveIdentifier } from "./identifier.ts";
import type { CredentialSource, IdentityDeps } from "./identity.ts";
import { signingKey, type SigningKey } from "./signing.ts";

/**
 * A request for the device's certificate, signed with its own key; also on a board that has no certificate yet.
 * @returns PEM
 * @throws Failure that names what is at fault
 */
export async function certificateRequestOf(config: Config["identity"], deps: IdentityDeps): Promise<string> {
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

const COMMON_NAME = "2.5.4.3";
const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
const RSA_WITH_SHA256 = "1.2.840.113549.1.1.11";
/** X.520's upper bound of a common name; authorities refuse longer ones. */
const MAX_COMMON_NAME = 64;

/**
 * A certificate request (PKCS#10, RFC 2986) for the device's own key.
 * @param identifier becomes the common name
 * @returns PEM
 * @throws Failure when the name is too long, or the key can't sign
 */
async function certificateRequest(identifier: string, key: SigningKey): Promise<string> {
  if (Array.from(identifier).length > MAX_COMMON_NAME) {
    throw new Failure(
      "identifier_invalid",
      `the identifier is longer than ${MAX_COMMON_NAME} characters, the most a certificate takes`,
    );
  }
  const publicKey = await key.publicKey();
  const info = new CertificationRequestInfo({
    subject: new Name([
      new RelativeDistinguishedName([
        new AttributeTypeAndValue({
          type: COMMON_NAME,
          value: new AttributeValue({ utf8String: identifier }),
        }),
      ]),
    ]),
    subjectPKInfo: AsnConvert.parse(publicKey.export({ format: "der", type: "spki" }), SubjectPublicKeyInfo),
  });
  const raw = AsnConvert.serialize(info);
  const request = new CertificationRequest({
    certificationRequestInfo: info,
    signatureAlgorithm:
      publicKey.asymmetricKeyType === "rsa"
        ? new AlgorithmIdentifier({
            algorithm: RSA_WITH_SHA256,
            parameters: AsnNullConverter.toASN(null).toBER(),
          })
        : new AlgorithmIdentifier({ algorithm: ECDSA_WITH_SHA256 }),
    signature: toArrayBuffer(await key.sign(Buffer.from(raw))),
  });
  const lines =
    Buffer.from(AsnConvert.serialize(request))
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join("\n")}\n-----END CERTIFICATE REQUEST-----\n`;
}

function toArrayBuffer(bytes: Buffer): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}
