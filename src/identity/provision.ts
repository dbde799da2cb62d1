/**
 * Making the device's key, and the request for its certificate (PKCS#10, RFC 2986), wherever the key lives. A key that
 * exists is never replaced: with it the board would lose its name at the hub. Only `hublink identity` loads this file,
 * and only with --generate or --csr: its ASN.1 library would cost the daemon memory.
 */
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { link, mkdir, open, unlink } from "node:fs/promises";
import { dirname } from "node:path";
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
import type { Clock } from "../platform/clock.ts";
import { Failure, fileFailure, systemCode } from "../platform/failure.ts";
import { syncPath } from "../platform/files.ts";
import { credentialSource, presentName } from "./credential-source.ts";
import { resolveIdentifier } from "./identifier.ts";
import type { IdentityDeps } from "./identity.ts";
import { keygenCommand } from "./pkcs11.ts";
import { signingKey, type SigningKey } from "./signing.ts";
import { makeTpm2Key } from "./tpm2-source.ts";

/**
 * Makes the device's key (EC P-256) where the configuration says; never over a key that exists.
 * @returns what was made, for people
 * @throws Failure when there is a key, or none can be made there by hublink
 */
export async function generateKey(config: Config["identity"], clock: Clock): Promise<string> {
  switch (config.source) {
    case "file": {
      const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
      await writeNewFile(config.file.keyFile, privateKey.export({ format: "pem", type: "pkcs8" }));
      return `key ${config.file.keyFile}`;
    }
    case "tpm2":
      await writeNewFile(config.tpm2.key, await makeTpm2Key(config.tpm2.tcti, clock));
      return `TPM 2.0 key ${config.tpm2.key}`;
    case "pkcs11":
      throw byHand(
        `make the key in the token with its own tool, which asks for the PIN: ${await keygenCommand(config.pkcs11, clock)}`,
      );
    case "rpi-otp":
      throw byHand("OTP memory is written once and for ever; do it with rpi-otp-private-key -w -y");
    case "env":
    case "uboot-env":
      throw byHand("make the key elsewhere (openssl genpkey) and put it into its variable");
    case "shared-secret":
      throw byHand("the hub makes shared secrets");
  }
}

function byHand(text: string): Failure {
  return new Failure("usage", `identity --generate: ${text}`);
}

/** Writes a file whole or not at all, for its owner only, and never over another. */
async function writeNewFile(path: string, content: string | Buffer): Promise<void> {
  const beside = `${path}.${randomUUID()}`;
  try {
    await mkdir(dirname(path), { recursive: true });
    const file = await open(beside, "wx", 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    try {
      await link(beside, path); // unlike rename, it never replaces a file
    } finally {
      await unlink(beside);
    }
    await syncPath(dirname(path));
  } catch (error) {
    if (systemCode(error) === "EEXIST") {
      throw new Failure("key_exists", `key ${path} is there already; it is not replaced`, { cause: error });
    }
    throw fileFailure("key", path, error);
  }
}

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
  const key = signingKey(await source.key(), deps.world.clock);
  const identifier = await resolveIdentifier(config.identifier, deps.world, await presentName(source));
  return await certificateRequest(identifier, key);
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
