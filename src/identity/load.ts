import { certificateIdentity } from "./certificate-identity.ts";
import type { CredentialSource } from "./credential-source.ts";
import { fileSource, type FileConfig } from "./file-source.ts";
import type { Identity, IdentityDeps } from "./identity.ts";
import { otpSource, type OtpConfig } from "./otp-source.ts";
import { pkcs11Source, type Pkcs11Config } from "./pkcs11-source.ts";
import { sharedSecretIdentity, type SharedSecretConfig } from "./shared-secret.ts";
import type { TlsRoute } from "./tls-credentials.ts";
import { tpm2Source, type Tpm2Config } from "./tpm2-source.ts";
import { variableSource, type VariableConfig } from "./stored-source.ts";

/** `[identity]` */
export interface IdentityConfig {
  readonly source: "file" | "env" | "uboot-env" | "pkcs11" | "tpm2" | "rpi-otp" | "shared-secret";
  readonly identifier: string;
  readonly tls: TlsRoute;
  readonly file: FileConfig;
  readonly env: VariableConfig;
  readonly uboot_env: VariableConfig;
  readonly pkcs11: Pkcs11Config;
  readonly tpm2: Tpm2Config;
  readonly rpi_otp: OtpConfig;
  readonly shared_secret: SharedSecretConfig;
}

/**
 * Loads the identity that the configuration names, and checks that it can be used.
 * @throws Failure that names the file, variable or setting at fault
 */
export async function loadIdentity(config: IdentityConfig, deps: IdentityDeps): Promise<Identity> {
  const source = credentialSource(config, deps);
  return source === undefined
    ? sharedSecretIdentity(config.identifier, config.shared_secret, deps)
    : certificateIdentity(config.identifier, config.tls, source, deps);
}

/**
 * Where certificate and key live; undefined for an identity that has none.
 * @throws Failure that names the setting at fault
 */
export function credentialSource(config: IdentityConfig, deps: IdentityDeps): CredentialSource | undefined {
  switch (config.source) {
    case "file":
      return fileSource(config.file);
    case "env":
      return variableSource("environment", config.env, async (name) =>
        Promise.resolve(deps.takeVariable(name)),
      );
    case "uboot-env":
      return variableSource("U-Boot", config.uboot_env, async (name) =>
        (await deps.ubootVariables()).get(name),
      );
    case "pkcs11":
      return pkcs11Source(config.pkcs11, deps.clock);
    case "tpm2":
      return tpm2Source(config.tpm2);
    case "rpi-otp":
      return otpSource(config.rpi_otp, deps.root);
    case "shared-secret":
      return undefined;
  }
}
