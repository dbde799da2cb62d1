/**
 * An identity by shared secret: no certificate, but a signature in the headers of each connection, which NervesHub
 * accepts for 90 s. The secret comes from a file or the U-Boot environment.
 */
import { createHmac, pbkdf2Sync } from "node:crypto";
import type { Config } from "../config/schema.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { resolveIdentifier } from "./identifier.ts";
import type { Identity, IdentityDeps } from "./identity.ts";
import { readSecretFile, Reloaded } from "./files.ts";

/** Named as in nerves_hub_link: a device's own key comes before its product's. */
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
  config: Config["identity"]["sharedSecret"],
  deps: IdentityDeps,
): Promise<Identity> {
  const { key, source, secret } = await loadSecret(config, deps);
  // It becomes the value of a header.
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new Failure(
      "secret_missing",
      `the key of the shared secret (${source}) holds blanks or is not ASCII`,
    );
  }
  const identifier = await resolveIdentifier(setting, deps.world);
  return {
    identifier,
    describe: () => ({
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

async function loadSecret(
  config: Config["identity"]["sharedSecret"],
  deps: IdentityDeps,
): Promise<LoadedSecret> {
  const { key, secretFile: path } = config;
  if (key !== "" && path !== "") {
    return { key, source: path, secret: await Reloaded.open([path], async () => readSecret(path)) };
  }
  if (key !== "")
    throw new Failure("secret_missing", "identity.shared_secret.secret_file is not set, but key is");
  if (path !== "")
    throw new Failure("secret_missing", "identity.shared_secret.key is not set, but secret_file is");
  const variables = await deps.ubootVariables();
  for (const [keyName, secretName] of UBOOT_VARIABLES) {
    const found = { key: variables.get(keyName) ?? "", secret: variables.get(secretName) ?? "" };
    if (found.key === "" || found.secret === "") continue;
    const source = `the U-Boot variables ${keyName} and ${secretName}`;
    return {
      key: found.key,
      source,
      secret: await Reloaded.open([], async () => Promise.resolve(found.secret)),
    };
  }
  throw new Failure(
    "secret_missing",
    "no shared secret: set identity.shared_secret.key and secret_file, or the U-Boot variables nh_shared_key and nh_shared_secret",
  );
}

async function readSecret(path: string): Promise<string> {
  const secret = await readSecretFile("secret file", path);
  if (secret === "") throw new Failure("secret_missing", `secret file ${path} is empty`);
  return secret;
}

// This is how nerves_hub_link signs (lib/nerves_hub_link/configurator/shared_secret.ex) and
// nerves_hub_web checks (lib/nerves_hub_web/channels/device_link/authentication.ex): a Plug.Crypto token
// (plug_crypto 2.1.1, lib/plug/crypto.ex and message_verifier.ex) over the identifier.
const DIGEST = "sha256";
const ITERATIONS = 1000;
const KEY_BYTES = 32;
const ALGORITHM = `NH1-HMAC-${DIGEST}-${ITERATIONS}-${KEY_BYTES}`;
/** Plug.Crypto's default; NervesHub itself accepts 90 s. */
const MAX_AGE_S = 86_400;
/** Base64url of `HS256`: Plug.Crypto.sign/4 uses it for every way to derive the key. */
const TOKEN_HEADER = "SFMyNTY";

/** Everything that the signature of one connection covers or needs. */
export interface ConnectClaim {
  /** The shared key's name, such as `nhp_…`; sent as it is. */
  readonly key: string;
  readonly secret: string;
  readonly identifier: string;
  /** Seconds since 1970. NervesHub refuses a signature that is 90 s old, or 1 s in its future. */
  readonly timeS: number;
}

/** The headers by which a device proves at the upgrade that it knows a shared secret. */
export function signConnect({ key, secret, identifier, timeS }: ConnectClaim): Record<string, string> {
  const signedAtS = Math.floor(timeS);
  const salt = [
    "NH1:device-socket:shared-secret:connect",
    "",
    `x-nh-alg=${ALGORITHM}`,
    `x-nh-key=${key}`,
    `x-nh-time=${signedAtS}`,
    "",
  ].join("\n");
  const derivedKey = pbkdf2Sync(secret, salt, ITERATIONS, KEY_BYTES, DIGEST);
  const payload = externalTerm(identifier, signedAtS * 1000);
  const signed = `${TOKEN_HEADER}.${payload.toString("base64url")}`;
  const signature = createHmac("sha256", derivedKey).update(signed).digest("base64url");
  return {
    "x-nh-alg": ALGORITHM,
    "x-nh-key": key,
    "x-nh-time": String(signedAtS),
    "x-nh-signature": `${signed}.${signature}`,
  };
}

/**
 * Erlang's `term_to_binary({identifier, signed_at_ms, max_age_s})`
 * (https://www.erlang.org/doc/apps/erts/erl_ext_dist.html).
 */
function externalTerm(identifier: string, signedAtMs: number): Buffer {
  const name = Buffer.from(identifier);
  const term = Buffer.alloc(3 + 5 + name.length + 3 + 6 + 5);
  let at = term.writeUInt8(131); // version
  at = term.writeUInt8(104, at); // SMALL_TUPLE_EXT
  at = term.writeUInt8(3, at);
  at = term.writeUInt8(109, at); // BINARY_EXT
  at = term.writeUInt32BE(name.length, at);
  at += name.copy(term, at);
  at = term.writeUInt8(110, at); // SMALL_BIG_EXT: six bytes hold the years up to 10889
  at = term.writeUInt8(6, at);
  at = term.writeUInt8(0, at); // not negative
  at = term.writeUIntLE(signedAtMs, at, 6);
  at = term.writeUInt8(98, at); // INTEGER_EXT
  term.writeInt32BE(MAX_AGE_S, at);
  return term;
}
