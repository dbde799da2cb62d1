/**
 * Signing with the device's key wherever it lives, for certificate requests and `hublink check`; TLS goes other
 * paths. A key in a chip signs through the `openssl` program, which gets configuration and PIN in nameless
 * files: arguments and the environment can be read by others in /proc.
 */
import { createPublicKey, type KeyObject, randomBytes, sign, verify } from "node:crypto";
import { closeSync } from "node:fs";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { Failure } from "../platform/failure.ts";
import { openMemoryFile } from "../platform/memory-file.ts";
import { type CertificateChain, keyMismatch } from "./certificate.ts";
import type { DeviceKey, TokenKey } from "./identity.ts";
import { tokenProblem } from "./token-problem.ts";

/** The device's key as something that signs. */
export interface SigningKey {
  /** @throws Failure that names the key */
  publicKey(): Promise<KeyObject>;
  /** ECDSA (DER) or RSA with PKCS#1 padding, over SHA-256. @throws Failure that names the key */
  sign(data: Uint8Array): Promise<Buffer>;
}

/** Nothing is opened before the first use. */
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
  if (!verify("sha256", challenge, own.publicKey, signature)) throw keyMismatch(key.origin);
}

/** TPMs are slow, and so are SPI buses. */
const TIMEOUT_MS = 60_000;
/** The child's descriptors after standard error, each a nameless file in memory. */
const FD = { opensslConfig: 3, key: 4 };

async function tokenPublicKey(key: TokenKey, clock: Clock): Promise<KeyObject> {
  const form = key.kind === "pkcs11" ? ["-inform", "engine"] : [];
  const pem = await openssl(key, clock, ["pkey", ...loading(key), ...form, "-in", nameOf(key), "-pubout"]);
  return createPublicKey(pem);
}

async function tokenSign(key: TokenKey, clock: Clock, data: Uint8Array): Promise<Buffer> {
  const form = key.kind === "pkcs11" ? ["-keyform", "engine"] : [];
  return await openssl(key, clock, ["dgst", ...loading(key), "-sha256", ...form, "-sign", nameOf(key)], data);
}

function loading(key: TokenKey): string[] {
  return key.kind === "pkcs11"
    ? ["-engine", "pkcs11"]
    : ["-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2"];
}

function nameOf(key: TokenKey): string {
  return key.kind === "pkcs11" ? key.uri : `/dev/fd/${FD.key}`;
}

/** @throws Failure that names the key, its PIN file or the program that is not installed */
async function openssl(
  key: TokenKey,
  clock: Clock,
  args: readonly string[],
  stdin: Uint8Array = Buffer.alloc(0),
): Promise<Buffer> {
  if (key.kind === "pkcs11") key.pin?.assertUsable(key.origin);
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
        "token_unusable",
        `${key.origin}: the openssl program can't use it (exit code ${exitCode ?? "none"})`,
      )
    );
  } finally {
    for (const file of files) closeSync(file);
  }
}

/** In the format of config(5): where the token's library is, and its PIN. Empty for a TPM. */
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

/** Escapes a value, so that OpenSSL reads no variable, quote or comment in it. */
function literal(text: string): string {
  return text.replace(/[^A-Za-z0-9]/g, "\\$&");
}
