/** A PKCS#11 token in software (SoftHSM), for tests of keys that cannot be read. */
import { spawnSync } from "node:child_process";
import { createPublicKey, type KeyObject } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { missing, output } from "./openssl.ts";

const MODULE = "/usr/lib/softhsm/libsofthsm2.so";
const PIN = "135799";

/** The reason why tests with a token are skipped; false when they run. */
export const tokenMissing =
  missing("softhsm2-util", "pkcs11-tool", "stunnel", "openssl") ||
  (hasEngine() ? false : "needs libp11's engine");

/** Whether OpenSSL, and with it stunnel, has the engine that reaches a token. */
function hasEngine(): boolean {
  const { stdout } = spawnSync("openssl", ["engine", "pkcs11"], { encoding: "utf8" });
  return stdout.startsWith("(pkcs11)");
}

/** A SoftHSM token with one key pair, which was made in it and can't leave it. */
export interface SoftToken {
  readonly module: string;
  readonly serial: string;
  readonly uri: string;
  readonly pin: string;
  readonly pinFile: string;
  readonly publicKey: KeyObject;
  /** Puts a certificate beside the key. */
  store(certificateFile: string): Promise<void>;
}

/** Makes a token in a folder; this process and its children see the tokens of that folder, and no others. */
export async function createSoftToken(
  folder: string,
  type = "EC:prime256v1",
  label = "agent",
): Promise<SoftToken> {
  await mkdir(join(folder, "tokens"), { recursive: true });
  const config = join(folder, "softhsm2.conf");
  await writeFile(config, `directories.tokendir = ${join(folder, "tokens")}\nlog.level = ERROR\n`);
  process.env["SOFTHSM2_CONF"] = config;
  const pins = ["--pin", PIN, "--so-pin", "97531"];
  await output("softhsm2-util", "--init-token", "--free", "--label", label, ...pins);
  const slots = (await output("softhsm2-util", "--show-slots")).split(/^Slot /m);
  const own = slots.find((slot) => new RegExp(`Label: +${label} *$`, "m").test(slot)) ?? "";
  const serial = /Serial number: +(\S+)/.exec(own)?.[1] ?? "";
  const tool = async (...args: readonly string[]): Promise<string> =>
    output("pkcs11-tool", "--module", MODULE, "--token-label", label, "--login", "--pin", PIN, ...args);
  await tool("--keypairgen", "--key-type", type, "--id", "01", "--label", "device");
  const publicFile = join(folder, `${label}.der`);
  await tool("--read-object", "--type", "pubkey", "--id", "01", "--output-file", publicFile);
  const pinFile = join(folder, "pin");
  await writeFile(pinFile, `${PIN}\n`, { mode: 0o600 });
  return {
    module: MODULE,
    serial,
    uri: `pkcs11:token=${label};id=%01;type=private`,
    pin: PIN,
    pinFile,
    publicKey: createPublicKey({ key: await readFile(publicFile), format: "der", type: "spki" }),
    async store(certificateFile) {
      const der = join(folder, `${label}-certificate.der`);
      await output("openssl", "x509", "-in", certificateFile, "-outform", "der", "-out", der);
      await tool("--write-object", der, "--type", "cert", "--id", "01", "--label", "device");
    },
  };
}
