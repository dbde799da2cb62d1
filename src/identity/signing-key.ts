import { createPublicKey, randomBytes, sign, verify, type KeyObject } from "node:crypto";
import type { Clock } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";
import type { CertificateChain } from "./certificate.ts";
import type { DeviceKey } from "./device-key.ts";
import { tokenPublicKey, tokenSign } from "./token-tool.ts";

/** The device's own key as something that signs, wherever it lives. */
export interface SigningKey {
  /** @throws Failure that names the key */
  publicKey(): Promise<KeyObject>;
  /** ECDSA (DER) or RSA with PKCS#1 padding, over SHA-256. @throws Failure that names the key */
  sign(data: Uint8Array): Promise<Buffer>;
}

export function signingKey(key: DeviceKey, clock: Clock): SigningKey {
  if (key.kind === "readable") {
    return {
      publicKey: async () => Promise.resolve(createPublicKey(key.key)),
      sign: async (data) => Promise.resolve(sign("sha256", data, key.key)),
    };
  }
  return {
    publicKey: async () => tokenPublicKey(key, clock),
    sign: async (data) => tokenSign(key, clock, data),
  };
}

/**
 * Proves by a signature that the key belongs to the certificate.
 * @throws Failure when it doesn't, or can't sign
 */
export async function proveKey(key: DeviceKey, [own]: CertificateChain, clock: Clock): Promise<void> {
  const challenge = randomBytes(32);
  const signature = await signingKey(key, clock).sign(challenge);
  if (verify("sha256", challenge, own.publicKey, signature)) return;
  throw new Failure(
    "config",
    `${key.origin} does not belong to the (first) certificate; they must be made for each other`,
  );
}
