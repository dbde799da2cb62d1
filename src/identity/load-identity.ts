import { Failure } from "../platform/failure.ts";
import { fileIdentity, type FileIdentityConfig } from "./file-identity.ts";
import type { Identity, IdentityDeps } from "./identity.ts";
import { sharedSecretIdentity, type SharedSecretConfig } from "./shared-secret-identity.ts";

/** `[identity]`, as far as it is built. */
export interface IdentityConfig {
  readonly source: "file" | "env" | "uboot-env" | "pkcs11" | "tpm2" | "rpi-otp" | "shared-secret";
  readonly identifier: string;
  readonly file: FileIdentityConfig;
  readonly shared_secret: SharedSecretConfig;
}

/**
 * Loads the identity that the configuration names, and checks that it can be used.
 * @throws Failure that names the file or setting at fault
 */
export async function loadIdentity(config: IdentityConfig, deps: IdentityDeps): Promise<Identity> {
  switch (config.source) {
    case "file":
      return fileIdentity(config.identifier, config.file, deps);
    case "shared-secret":
      return sharedSecretIdentity(config.identifier, config.shared_secret, deps);
    default:
      throw new Failure(
        "config",
        `identity.source = "${config.source}" is not built yet; use "file" or "shared-secret"`,
      );
  }
}
