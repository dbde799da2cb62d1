import { createHmac, pbkdf2Sync } from "node:crypto";

// The way that nerves_hub_link signs (lib/nerves_hub_link/configurator/shared_secret.ex) and
// nerves_hub_web checks (lib/nerves_hub_web/channels/device_link/authentication.ex): a Plug.Crypto token
// (plug_crypto 2.1.1, lib/plug/crypto.ex and message_verifier.ex) over the identifier.
const DIGEST = "sha256";
const ITERATIONS = 1000;
const KEY_BYTES = 32;
const ALGORITHM = `NH1-HMAC-${DIGEST}-${ITERATIONS}-${KEY_BYTES}`;
/** Plug.Crypto's default; NervesHub itself takes 90 s. */
const MAX_AGE_S = 86_400;
/** Base64url of `HS256`: Plug.Crypto.sign/4 uses it whatever the key was derived with. */
const TOKEN_HEADER = "SFMyNTY";

export interface ConnectClaim {
  /** The shared key's name, such as `nhp_…`; sent as it is. */
  readonly key: string;
  readonly secret: string;
  readonly identifier: string;
  /** Seconds since 1970. NervesHub refuses what is 90 s old, or 1 s in its future. */
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
