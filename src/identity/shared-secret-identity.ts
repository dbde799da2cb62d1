import { readSecretFile } from "../config/secret-file.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { resolveIdentifier } from "./identifier.ts";
import type { Identity, IdentityDeps } from "./identity.ts";
import { signConnect } from "./nh1.ts";
import { reloaded } from "./reload.ts";

/** `[identity.shared_secret]` */
export interface SharedSecretConfig {
  readonly key: string;
  readonly secret_file: string;
}

/**
 * A secret shared with the hub, of the product or of this device alone; each connection is signed with it.
 * @param setting `identity.identifier`
 * @throws Failure that names the setting or file at fault
 */
export async function sharedSecretIdentity(
  setting: string,
  config: SharedSecretConfig,
  deps: IdentityDeps,
): Promise<Identity> {
  const { key, secret_file: secretFile } = config;
  if (key === "") throw new Failure("config", "identity.shared_secret.key is not set");
  if (secretFile === "") throw new Failure("config", "identity.shared_secret.secret_file is not set");
  // It becomes the value of a header.
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new Failure("config", "identity.shared_secret.key holds blanks or characters other than ASCII's");
  }
  const secret = await reloaded([secretFile], async () => readSecret(secretFile));
  const identifier = await resolveIdentifier(setting, deps);
  return {
    identifier,
    describe: () => ({
      identifier,
      source: `shared secret ${secretFile}`,
      warnings: secret.broken === undefined ? [] : [`still on the old secret: ${messageOf(secret.broken)}`],
    }),
    async connection(timeS) {
      if (await secret.refresh()) {
        if (secret.broken === undefined) deps.log.info("the secret file has changed", { path: secretFile });
        else deps.log.warn(`still on the old secret: ${messageOf(secret.broken)}`);
      }
      return {
        path: "/device-socket/websocket",
        tls: {},
        headers: signConnect({ key, secret: secret.value, identifier, timeS }),
      };
    },
  };
}

async function readSecret(path: string): Promise<string> {
  const secret = await readSecretFile(path);
  if (secret === "") throw new Failure("config", `secret file ${path} is empty`);
  return secret;
}
