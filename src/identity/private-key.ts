/**
 * Reading a private key in any form in which tools write one. A failure says which form was found instead, since a
 * certificate in the key's place is the usual mistake.
 */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { Failure, systemCode } from "../platform/failure.ts";
import { heldInstead, type PemBlock, pemBlocks } from "./certificate.ts";

const EXPECTED = "expected PEM or DER: PKCS#8, SEC1 (EC) or PKCS#1 (RSA)";

/** OpenSSL's names of the curves P-256 and P-384. */
const CURVES: readonly (string | undefined)[] = ["prime256v1", "secp384r1"];

/**
 * Reads a private key: PEM or DER; PKCS#8, SEC1 or PKCS#1; encrypted or not.
 * @param path names the file in failures
 * @param passphrase of an encrypted key; ignored for one that is not
 * @param passphraseSetting the setting for a passphrase, which failures name; empty: there is none
 * @throws Failure `no-input` when it holds no private key; `config` when the passphrase is missing or
 *   wrong, or the key is neither RSA nor EC on P-256 or P-384
 */
export function parsePrivateKey(
  content: Uint8Array,
  path: string,
  passphrase?: string,
  passphraseSetting = "",
): KeyObject {
  const blocks = pemBlocks(content);
  const block = blocks.find(({ label }) => label.endsWith("PRIVATE KEY"));
  const secret: Passphrase = { text: passphrase, setting: passphraseSetting };
  const key =
    block === undefined ? readDer(Buffer.from(content), path, secret) : readPem(block, path, secret);
  if (key === undefined) {
    throw new Failure("key_invalid", `key ${path}: no private key in it, ${EXPECTED}${heldInstead(blocks)}`);
  }
  const curve = key.asymmetricKeyDetails?.namedCurve;
  const type = key.asymmetricKeyType ?? "unknown";
  if (type === "rsa" || (type === "ec" && CURVES.includes(curve))) return key;
  throw new Failure(
    "key_unsupported",
    `key ${path} is of type ${[type, curve].filter(Boolean).join(" ")}; use EC P-256, EC P-384 or RSA`,
  );
}

/** PKCS#8 PEM, not encrypted, as node:tls reads it. */
export function keyToPem(key: KeyObject): string {
  return key.export({ format: "pem", type: "pkcs8" }).toString();
}

interface Passphrase {
  readonly text: string | undefined;
  readonly setting: string;
}

function readPem(block: PemBlock, path: string, passphrase: Passphrase): KeyObject {
  // The header of RFC 1421 is OpenSSL's old way to encrypt SEC1 and PKCS#1.
  const encrypted = block.label.startsWith("ENCRYPTED") || block.text.includes("Proc-Type: 4,ENCRYPTED");
  if (encrypted && passphrase.text === undefined) throw passphraseMissing(path, passphrase);
  try {
    return createPrivateKey({
      key: block.text,
      format: "pem",
      ...(passphrase.text !== undefined && { passphrase: passphrase.text }),
    });
  } catch (error) {
    throw encrypted ? passphraseWrong(path, passphrase, error) : damaged(path, error);
  }
}

/** DER does not say what it holds, so each form is tried. Undefined when it is in none of them. */
function readDer(key: Buffer, path: string, passphrase: Passphrase): KeyObject | undefined {
  const unlocking = passphrase.text === undefined ? {} : { passphrase: passphrase.text };
  for (const type of ["pkcs8", "sec1", "pkcs1"] as const) {
    try {
      return createPrivateKey({ key, format: "der", type, ...unlocking });
    } catch (error) {
      if (systemCode(error) === "ERR_MISSING_PASSPHRASE") throw passphraseMissing(path, passphrase);
      if (systemCode(error) === "ERR_OSSL_BAD_DECRYPT") throw passphraseWrong(path, passphrase, error);
      // Not of this form: the next one may fit.
    }
  }
  return undefined;
}

function damaged(path: string, cause: unknown): Failure {
  return new Failure("key_invalid", `key ${path} is damaged; ${EXPECTED}`, { cause });
}

function passphraseMissing(path: string, { setting }: Passphrase): Failure {
  const remedy = setting === "" ? "store it without a passphrase" : `set ${setting}`;
  return new Failure("key_encrypted", `key ${path} is encrypted; ${remedy}`);
}

function passphraseWrong(path: string, { setting }: Passphrase, cause: unknown): Failure {
  return new Failure(
    "key_encrypted",
    `key ${path} can't be decrypted: the text in ${setting} is wrong, or the key is damaged`,
    { cause },
  );
}
