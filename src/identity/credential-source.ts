/**
 * Where certificate and key come from: `credentialSource` chooses by `identity.source`. Files and variables are
 * here; each kind of chip has a file of its own (pkcs11.ts, tpm2-source.ts, otp-source.ts).
 */
import type { Config } from "../config/schema.ts";
import { Failure } from "../platform/failure.ts";
import { commonName, parseCertificates, PEM_BLOCK, readCertificateFile } from "./certificate.ts";
import type { CredentialSource, IdentityDeps } from "./identity.ts";
import { otpSource } from "./otp-source.ts";
import { pkcs11Source } from "./pkcs11.ts";
import { parsePrivateKey } from "./private-key.ts";
import { readOwnerOnlyFile, readSecretFile } from "./files.ts";
import { tpm2Source } from "./tpm2-source.ts";

/**
 * Certificate and key in variables.
 * @param kind which variables: those of the `environment` or of `U-Boot`
 * @param read gives the present value of a variable
 */
function variableSource(
  kind: "environment" | "U-Boot",
  config: Config["identity"]["env"],
  read: (name: string) => Promise<string | undefined>,
): CredentialSource {
  const stored = async (what: "certificate" | "key", name: string): Promise<Buffer> => {
    const value = (await read(name)) ?? "";
    if (value === "") {
      const madeBy = what === "certificate" ? "; hublink identity --csr requests one" : "";
      throw new Failure("key_missing", `${what}: the ${kind} variable ${name} is not set${madeBy}`);
    }
    return decodeStored(value, `${what}: the ${kind} variable ${name}`);
  };
  return {
    name: `${kind} variable ${config.key}`,
    files: [],
    async certificate() {
      const origin = `${kind} variable ${config.cert}`;
      return { chain: parseCertificates(await stored("certificate", config.cert), origin), origin };
    },
    async key() {
      const origin = `${kind} variable ${config.key}`;
      const key = parsePrivateKey(await stored("key", config.key), origin);
      return { kind: "readable", origin: `key ${origin}`, key };
    },
  };
}

/** Certificate and key in files. @throws Failure when one is not named */
function fileSource(config: Config["identity"]["file"]): CredentialSource {
  const { certFile, keyFile, keyPassphraseFile: passphraseFile } = config;
  for (const [name, path] of Object.entries({ cert_file: certFile, key_file: keyFile })) {
    if (path === "") throw new Failure("config", `identity.file.${name} is not set`);
  }
  return {
    name: `file ${keyFile}`,
    files: [certFile, keyFile, passphraseFile].filter((path) => path !== ""),
    certificate: async () => readCertificateFile(certFile),
    async key() {
      const passphrase =
        passphraseFile === "" ? undefined : await readSecretFile("passphrase file", passphraseFile);
      return {
        kind: "readable",
        origin: `key ${keyFile}`,
        key: parsePrivateKey(
          await readOwnerOnlyFile("key", keyFile),
          keyFile,
          passphrase,
          "identity.file.key_passphrase_file",
        ),
      };
    },
  };
}

/**
 * The bytes of a certificate or key kept as one line of text, as in a variable: PEM, also with its line
 * breaks lost or written as `\n`; base64 of such PEM; base64 of DER.
 * @param name how failures name it, such as `certificate variable DEVICE_CERT`
 * @throws Failure `no-input` when it is in none of these forms
 */
function decodeStored(text: string, name: string): Buffer {
  if (text.includes("-----BEGIN")) return Buffer.from(withLineBreaks(text));
  const base64 = text.replace(/\s+/g, "");
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) {
    throw new Failure("key_invalid", `${name} holds neither PEM nor base64`);
  }
  const bytes = Buffer.from(base64, "base64");
  return bytes.includes("-----BEGIN") ? Buffer.from(withLineBreaks(bytes.toString("latin1"))) : bytes;
}

/** OpenSSL reads PEM only in lines. */
function withLineBreaks(pem: string): string {
  return pem.replaceAll("\\n", "\n").replace(PEM_BLOCK, (block, label: string, body: string) => {
    if (body.includes(":")) return block; // headers: lost line breaks between them can't be restored
    const lines = body.replace(/\s+/g, "").match(/.{1,64}/g) ?? [];
    return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
  });
}

/**
 * Where certificate and key live; undefined for an identity that has none.
 * @throws Failure that names the setting at fault
 */
export function credentialSource(
  config: Config["identity"],
  deps: IdentityDeps,
): CredentialSource | undefined {
  switch (config.source) {
    case "file":
      return fileSource(config.file);
    case "env":
      return variableSource("environment", config.env, async (name) =>
        Promise.resolve(deps.takeVariable(name)),
      );
    case "uboot-env":
      return variableSource("U-Boot", config.ubootEnv, async (name) =>
        (await deps.ubootVariables()).get(name),
      );
    case "pkcs11":
      return pkcs11Source(config.pkcs11, deps.world.clock);
    case "tpm2":
      return tpm2Source(config.tpm2);
    case "rpi-otp":
      return otpSource(config.rpiOtp, deps.world);
    case "shared-secret":
      return undefined;
  }
}

/**
 * The name in the certificate, if there is one.
 * @throws Failure when it can't be read for another reason
 */
export async function presentName(source: CredentialSource): Promise<string | undefined> {
  try {
    const { chain } = await source.certificate();
    return commonName(chain[0]);
  } catch (error) {
    if (error instanceof Failure && error.kind === "no-input") return undefined;
    throw error;
  }
}
