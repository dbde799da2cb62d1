import { Failure } from "../platform/failure.ts";
import type { TokenKey } from "./device-key.ts";

/** What OpenSSL, libp11 and tpm2-openssl write when a key in a chip can't be used, and what it means. */
const PROBLEMS: readonly (readonly [RegExp, (key: TokenKey) => string])[] = [
  [
    /key values mismatch/i,
    () => "it does not belong to the (first) certificate; they must be made for each other",
  ],
  [/PIN locked/i, () => "the token has locked itself after too many wrong PINs; unlock it with its SO PIN"],
  [
    /PIN incorrect|Login failed/i,
    (key) =>
      `the token refused the PIN in ${pinFile(key)}; it is not tried again until the file changes or hublink starts anew`,
  ],
  [
    /Unable to load (PKCS#11 )?module/i,
    (key) =>
      `the library ${key.kind === "pkcs11" ? key.module : ""} can't be loaded; correct identity.pkcs11.module`,
  ],
  [
    /could not load the shared library|no such engine|invalid engine "pkcs11"/i,
    () => "OpenSSL has no PKCS#11 engine; install libp11 (libengine-pkcs11-openssl)",
  ],
  [
    /No matching initialized token/,
    () => "there is no such token; is it connected, initialized, and its name right?",
  ],
  [
    /key was not found|object not found/i,
    (key) =>
      pinFile(key) === ""
        ? "the token shows no such key without a PIN; set identity.pkcs11.pin_file or correct the URI"
        : "the token holds no such key; correct identity.pkcs11.uri",
  ],
  [
    /missing private key/,
    () =>
      "OpenSSL's TPM provider can't sign for TLS with it; tpm2-openssl 1.1.1 is too old, 1.3.0 is known to work",
  ],
  [
    /tpm2.*(could not be loaded|unable to load provider)|unable to load provider tpm2/i,
    () => "OpenSSL has no TPM provider; install tpm2-openssl",
  ],
  [
    /tcti|ESYS|tpm:|ERROR:tpm2/i,
    () =>
      "the TPM does not answer or does not take it; check identity.tpm2.tcti, and that the key was made by this TPM",
  ],
];

/**
 * Why a key in a chip could not be used, and notes a refused PIN; undefined when it was not the key.
 * @param output what the program that tried wrote; it may hold the PIN, so nothing of it is passed on
 */
export function tokenProblem(key: TokenKey, output: string): Failure | undefined {
  if (key.kind === "pkcs11" && /PIN (incorrect|locked)|Login failed/i.test(output)) key.pin?.refuse();
  const text = PROBLEMS.find(([pattern]) => pattern.test(output))?.[1](key);
  return text === undefined ? undefined : new Failure("config", `${key.origin}: ${text}`);
}

function pinFile(key: TokenKey): string {
  return key.kind === "pkcs11" ? (key.pin?.file ?? "") : "";
}
