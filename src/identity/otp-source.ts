/**
 * The key in a Raspberry Pi's OTP memory: the number of a P-256 private key, in its eight private rows as the tool
 * rpi-otp-private-key writes them. OTP is written once, so every state it can be in has a message of its own.
 */
import { createECDH, createPrivateKey, type KeyObject } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { Failure, fileFailure, systemCode } from "../platform/failure.ts";
import type { World } from "../platform/world.ts";
import { readCertificateFile } from "./certificate.ts";
import type { CredentialSource } from "./identity.ts";

const DEVICES = "sys/bus/nvmem/devices";
/** The private rows as Raspberry Pi's kernel names them (drivers/nvmem/raspberrypi-otp.c), and the mainline one. */
const NAMES = /^(nvmem_priv|rpi-otp-private)/;
const KEY_BYTES = 32;

/** The key in OTP memory, with its certificate in a file. */
export function otpSource(config: Config["identity"]["rpiOtp"], { root }: World): CredentialSource {
  return {
    name: "OTP memory of the Raspberry Pi",
    files: [config.certFile],
    certificate: async () => readCertificateFile(config.certFile),
    async key() {
      const path = await findRows(join(root, DEVICES));
      return { kind: "readable", origin: `OTP key ${path}`, key: keyOf(await readRows(path), path) };
    },
  };
}

async function findRows(devices: string): Promise<string> {
  let names: string[];
  try {
    names = await readdir(devices);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw fileFailure("OTP memory", devices, error);
    names = [];
  }
  const name = names.sort().find((entry) => NAMES.test(entry));
  if (name !== undefined) return join(devices, name, "nvmem");
  throw new Failure(
    "key_missing",
    `OTP memory: no nvmem_priv* or rpi-otp-private* in ${devices}; the kernel needs Raspberry Pi's OTP driver (CONFIG_NVMEM_RASPBERRYPI_OTP)`,
  );
}

async function readRows(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw fileFailure("OTP memory", path, error);
  }
}

function keyOf(content: Buffer, path: string): KeyObject {
  if (content.length < KEY_BYTES) {
    throw new Failure(
      "key_invalid",
      `OTP memory ${path} has ${content.length} bytes, fewer than ${KEY_BYTES}`,
    );
  }
  // A row is a 32-bit number in the processor's byte order; the tool writes the key's bytes into it from
  // the highest to the lowest.
  const scalar = Buffer.from(content.subarray(0, KEY_BYTES)).swap32();
  if (scalar.every((byte) => byte === 0)) {
    throw new Failure(
      "key_missing",
      `OTP memory ${path} holds no key yet: all rows are zero; write one with rpi-otp-private-key, once and for ever`,
    );
  }
  // The driver leaves its buffer like this when the firmware did not answer.
  if (scalar.every((byte) => byte === 0xee)) {
    throw new Failure(
      "io",
      `OTP memory ${path}: the firmware gave no rows; is reading the key locked (config.txt)?`,
    );
  }
  const ecdh = createECDH("prime256v1");
  try {
    ecdh.setPrivateKey(scalar);
  } catch (error) {
    throw new Failure("key_invalid", `OTP memory ${path}: its rows are no P-256 private key`, {
      cause: error,
    });
  }
  const point = ecdh.getPublicKey();
  return createPrivateKey({
    format: "jwk",
    key: {
      kty: "EC",
      crv: "P-256",
      d: scalar.toString("base64url"),
      x: point.subarray(1, 33).toString("base64url"),
      y: point.subarray(33).toString("base64url"),
    },
  });
}
