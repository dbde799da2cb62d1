/**
 * Making the device's key, or saying how it is made where hublink can't. A key that exists is never replaced: with it
 * the board would lose its name at the hub.
 */
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { link, mkdir, open, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import type { Config } from "../config/schema.ts";
import type { Clock } from "../platform/clock.ts";
import { Failure, fileFailure, systemCode } from "../platform/failure.ts";
import { syncPath } from "../platform/files.ts";
import { keygenCommand } from "./pkcs11-source.ts";
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
