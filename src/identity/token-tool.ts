import { createPublicKey, type KeyObject } from "node:crypto";
import { closeSync } from "node:fs";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { Failure } from "../platform/failure.ts";
import { openMemoryFile } from "../platform/memory-file.ts";
import { pinRefused, type TokenKey } from "./device-key.ts";

/** TPMs are slow, and SPI busses too. */
const TIMEOUT_MS = 60_000;
/** The child's descriptors after standard error, each a nameless file in memory. */
const FD = { opensslConfig: 3, key: 4 };

/**
 * The public half of a key that stays in its chip, asked for through the `openssl` program.
 * @throws Failure that names key, PIN file or what is not installed
 */
export async function tokenPublicKey(key: TokenKey, clock: Clock): Promise<KeyObject> {
  const form = key.kind === "pkcs11" ? ["-inform", "engine"] : [];
  const pem = await openssl(key, clock, ["pkey", ...loading(key), ...form, "-in", name(key), "-pubout"]);
  return createPublicKey(pem);
}

/**
 * Signs in the chip: ECDSA (DER) or RSA with PKCS#1 padding, over SHA-256.
 * @throws Failure as {@link tokenPublicKey}
 */
export async function tokenSign(key: TokenKey, clock: Clock, data: Uint8Array): Promise<Buffer> {
  const form = key.kind === "pkcs11" ? ["-keyform", "engine"] : [];
  return await openssl(key, clock, ["dgst", ...loading(key), "-sha256", ...form, "-sign", name(key)], data);
}

function loading(key: TokenKey): string[] {
  return key.kind === "pkcs11"
    ? ["-engine", "pkcs11"]
    : ["-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2"];
}

function name(key: TokenKey): string {
  return key.kind === "pkcs11" ? key.uri : `/dev/fd/${FD.key}`;
}

async function openssl(
  key: TokenKey,
  clock: Clock,
  args: readonly string[],
  stdin: Uint8Array = Buffer.alloc(0),
) {
  if (key.kind === "pkcs11" && key.pin?.refused === true) throw pinRefused(key.origin, key.pin);
  const files: number[] = [];
  try {
    for (const content of [opensslConfig(key), key.kind === "tpm2" ? key.pem : ""])
      files.push(openMemoryFile(content));
    const { exitCode, stdoutBytes, stderr } = await runCommand(["openssl", ...args], {
      clock,
      timeoutMs: TIMEOUT_MS,
      stdin,
      files,
      env: {
        OPENSSL_CONF: `/dev/fd/${FD.opensslConfig}`,
        ...(key.kind === "tpm2" && { TPM2OPENSSL_TCTI: key.tcti }),
      },
    });
    if (exitCode === 0 && stdoutBytes.length > 0) return stdoutBytes;
    throw (
      tokenProblem(key, stderr) ??
      new Failure(
        "config",
        `${key.origin}: the openssl program can't use it (exit code ${exitCode ?? "none"})`,
      )
    );
  } finally {
    for (const file of files) closeSync(file);
  }
}

/** config(5): where the token's library is, and its PIN. Nothing for a TPM. */
function opensslConfig(key: TokenKey): string {
  if (key.kind !== "pkcs11") return "";
  const lines = [
    "openssl_conf = init",
    "[init]",
    "engines = engines",
    "[engines]",
    "pkcs11 = pkcs11",
    "[pkcs11]",
    `MODULE_PATH = ${literal(key.module)}`,
    ...(key.pin === undefined ? [] : [`PIN = ${literal(key.pin.text)}`]),
  ];
  return `${lines.join("\n")}\n`;
}

/** A value in which nothing is a variable, a quote or a comment. */
function literal(text: string): string {
  return text.replace(/[^A-Za-z0-9]/g, "\\$&");
}

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
