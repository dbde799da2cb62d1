import { readSecretFile } from "./owner-only.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { resolveIdentifier } from "./identifier.ts";
import type { Identity, IdentityDeps } from "./identity.ts";
import { signConnect } from "./nh1.ts";
import { reloaded, type Reloaded } from "./reload.ts";

/** `[identity.shared_secret]`; both empty: from the U-Boot environment. */
export interface SharedSecretConfig {
  readonly key: string;
  readonly secret_file: string;
}

/** As nerves_hub_link names them: a device's own key comes before its product's. */
const UBOOT_VARIABLES = [
  ["nh_shared_key", "nh_shared_secret"],
  ["nh_shared_product_key", "nh_shared_product_secret"],
] as const;

/**
 * A secret shared with the hub, of the product or of this device alone; each connection is signed with it.
 * @param setting `identity.identifier`
 * @throws Failure that names the setting, file or variable at fault
 */
export async function sharedSecretIdentity(
  setting: string,
  config: SharedSecretConfig,
  deps: IdentityDeps,
): Promise<Identity> {
  const { key, source, secret } = await loadSecret(config, deps);
  // It becomes the value of a header.
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new Failure("config", `the key of the shared secret (${source}) holds blanks or is not ASCII`);
  }
  const identifier = await resolveIdentifier(setting, deps);
  return {
    identifier,
    describe: () => ({
      identifier,
      source: `shared secret of ${source}`,
      warnings: secret.broken === undefined ? [] : [`still on the old secret: ${messageOf(secret.broken)}`],
    }),
    async connection(timeS) {
      if (await secret.refresh()) {
        if (secret.broken === undefined) deps.log.info("the secret file has changed", { path: source });
        else deps.log.warn(`still on the old secret: ${messageOf(secret.broken)}`);
      }
      return {
        path: "/device-socket/websocket",
        tls: { kind: "none" },
        headers: signConnect({ key, secret: secret.value, identifier, timeS }),
      };
    },
  };
}

interface LoadedSecret {
  readonly key: string;
  /** For people: the file, or the variables. */
  readonly source: string;
  readonly secret: Reloaded<string>;
}

async function loadSecret(config: SharedSecretConfig, deps: IdentityDeps): Promise<LoadedSecret> {
  const { key, secret_file: path } = config;
  if (key !== "" && path !== "") {
    return { key, source: path, secret: await reloaded([path], async () => readSecret(path)) };
  }
  if (key !== "") throw new Failure("config", "identity.shared_secret.secret_file is not set, but key is");
  if (path !== "") throw new Failure("config", "identity.shared_secret.key is not set, but secret_file is");
  const variables = await deps.ubootVariables();
  for (const [keyName, secretName] of UBOOT_VARIABLES) {
    const found = { key: variables.get(keyName) ?? "", secret: variables.get(secretName) ?? "" };
    if (found.key === "" || found.secret === "") continue;
    const source = `the U-Boot variables ${keyName} and ${secretName}`;
    return { key: found.key, source, secret: await reloaded([], async () => Promise.resolve(found.secret)) };
  }
  throw new Failure(
    "config",
    "no shared secret: set identity.shared_secret.key and secret_file, or the U-Boot variables nh_shared_key and nh_shared_secret",
  );
}

async function readSecret(path: string): Promise<string> {
  const secret = await readSecretFile(path);
  if (secret === "") throw new Failure("config", `secret file ${path} is empty`);
  return secret;
}
