/** Signing keys as fwup reads, checks and generates them. */
import { createPublicKey, generateKeyPairSync, verify, type KeyObject } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { messageOf, systemCode } from "../../src/platform/failure.ts";
import { FwupError } from "./fwup-error.ts";

const PUBLIC_KEY_BYTES = 32;

/** A public key from the command line: base64, padded or not. */
export function parsePublicKey(text: string): KeyObject {
  const key = decodePublicKey(Buffer.from(text));
  if (key === undefined) throw new FwupError("Error decoding public key");
  return key;
}

/** A public key from a file: base64 or the raw 32 bytes. */
export function readPublicKeyFile(path: string): KeyObject {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (error) {
    const reason = systemCode(error) === "ENOENT" ? "No such file or directory" : messageOf(error);
    throw new FwupError(`Error opening public key file '${path}': ${reason}`, { cause: error });
  }
  const key = decodePublicKey(content);
  if (key === undefined) throw new FwupError(`Error reading or decoding public key from file '${path}'`);
  return key;
}

function decodePublicKey(content: Buffer): KeyObject | undefined {
  const text = content.toString("latin1").trim();
  const base64 = /^[A-Za-z0-9+/]{43}=?$/.test(text);
  if (!base64 && content.length !== PUBLIC_KEY_BYTES) return undefined;
  const raw = base64 ? Buffer.from(text, "base64") : content;
  return createPublicKey({
    key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") },
    format: "jwk",
  });
}

/** Whether any of the keys made the signature. */
export function signatureFits(signature: Buffer, content: Buffer, keys: readonly KeyObject[]): boolean {
  return keys.some((key) => verify(null, content, key, signature));
}

/**
 * Makes `prefix.pub` and `prefix.priv`; never overwrites a file.
 * @returns fwup's message
 */
export function generateKeyFiles(prefix: string): string {
  const { x = "", d = "" } = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  const publicKey = Buffer.from(x, "base64url");
  const files = [
    { path: `${prefix}.pub`, content: publicKey },
    { path: `${prefix}.priv`, content: Buffer.concat([Buffer.from(d, "base64url"), publicKey]) },
  ];
  for (const { path, content } of files)
    try {
      writeFileSync(path, content.toString("base64"), { flag: "wx", mode: 0o600 });
    } catch (error) {
      const reason = systemCode(error) === "EEXIST" ? "File exists" : messageOf(error);
      throw new FwupError(`Couldn't create '${path}': ${reason}`, { cause: error });
    }
  const [publicName, privateName] = files.map(({ path }) => basename(path));
  return (
    `Firmware signing keys created and saved to '${publicName}' and '${privateName}'\n\n` +
    `Distribute '${publicName}' with your system so that firmware updates can be\n` +
    `authenticated. Keep '${privateName}' in a safe location.\n`
  );
}
