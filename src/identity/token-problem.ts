/**
 * Why a key in a chip can't be used, found in the output of the program that tried: OpenSSL, libp11 and
 * tpm2-openssl give no codes. Their output may hold the PIN, so only sentences of our own leave this room.
 */
import { Failure } from "../platform/failure.ts";
import { keyMismatch } from "./certificate.ts";
import type { Pkcs11Key, TokenKey } from "./identity.ts";

/** A pattern of the output, and what it means; the first that is found counts. */
const PROBLEMS: readonly (readonly [RegExp, (key: TokenKey) => string | Failure])[] = [
  [/key values mismatch/i, ({ origin }) => keyMismatch(`${origin}: it`)],
  [/PIN locked/i, () => "the token has locked itself after too many wrong PINs; unlock it with its SO PIN"],
  [
    /PIN incorrect|Login failed/i,
    (key) => pinOf(key)?.refusal(key.origin) ?? "the token asks for a PIN; set identity.pkcs11.pin_file",
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
      pinOf(key) === undefined
        ? "the token shows no such key without a PIN; set identity.pkcs11.pin_file or correct the URI"
        : "the token holds no such key; correct identity.pkcs11.uri",
  ],
  [
    /missing private key/,
    () =>
      "OpenSSL's TPM provider can't sign for TLS with it; tpm2-openssl 1.1.1 is too old, 1.3.0 is known to work",
  ],
  [
    /tpm2(?:(?!tpm2).)*(could not be loaded|unable to load provider)|unable to load provider tpm2/i,
    () => "OpenSSL has no TPM provider; install tpm2-openssl",
  ],
  [
    /tcti|ESYS|tpm:|ERROR:tpm2/i,
    () =>
      "the TPM does not answer or does not take it; check identity.tpm2.tcti, and that the key was made by this TPM",
  ],
];

/**
 * Says why a key in a chip could not be used, and notes a refused PIN.
 * @param output what the program that tried has written
 * @returns undefined when the output names no problem of the key
 */
export function tokenProblem(key: TokenKey, output: string): Failure | undefined {
  if (/PIN (incorrect|locked)|Login failed/i.test(output)) pinOf(key)?.refuse();
  const problem = PROBLEMS.find(([pattern]) => pattern.test(output))?.[1](key);
  return typeof problem === "string" ? new Failure("token_unusable", `${key.origin}: ${problem}`) : problem;
}

function pinOf(key: TokenKey): Pkcs11Key["pin"] {
  return key.kind === "pkcs11" ? key.pin : undefined;
}
