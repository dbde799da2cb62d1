/**
 * Shared-secret authentication (the `x-nh-*` headers) on the hub's side. It shares no code with
 * src/identity/shared-secret.ts, so that a mistake there shows.
 */
import { createHmac, getHashes, pbkdf2Sync, timingSafeEqual } from "node:crypto";

/** A shared secret the hub has on record. */
export interface SharedSecret {
  readonly secret: string;
  /** The only device it lets in; a product's key lets any in. */
  readonly identifier?: string;
}

/** The headers of an upgrade, names in lower case. */
export type Headers = Readonly<Record<string, string | string[] | undefined>>;

export type Verdict =
  | { readonly identifier: string }
  /** `platform` is the answer to headers that make the real server fail (503). */
  | { readonly refused: "credentials" | "platform"; readonly why: string };

const MAX_AGE_MS = 90_000;
const ALGORITHM = /^NH1-HMAC-([A-Za-z0-9]+)-(\d+)-(\d+)$/;
/** More iterations would only stall the stand-in. */
const MAX_ITERATIONS = 1_000_000;
const MAX_KEY_BYTES = 1024;

/**
 * Checks the `x-nh-*` headers of an upgrade against the hub's clock, as Plug.Crypto does: a token may
 * be 90 s old, but not one moment in the future.
 */
export function verifyNh1(
  headers: Headers,
  secrets: ReadonlyMap<string, SharedSecret>,
  nowMs: number,
): Verdict {
  const refuse = (why: string): Verdict => ({ refused: "credentials", why });
  const algorithm = ALGORITHM.exec(text(headers, "x-nh-alg") ?? "");
  if (algorithm === null) return refuse("the algorithm can't be read");
  const time = text(headers, "x-nh-time");
  if (time === undefined) return { refused: "platform", why: "no x-nh-time" };
  const key = text(headers, "x-nh-key");
  const token = text(headers, "x-nh-signature");
  if (!/^[+-]?\d+$/.test(time) || key === undefined || token === undefined) {
    return refuse("a header is missing or malformed");
  }
  const [alg = "", digest = "", iterations = "", keyBytes = ""] = algorithm;
  const known = secrets.get(key);
  if (known === undefined) return refuse("unknown key");
  if (
    !getHashes().includes(digest.toLowerCase()) ||
    !inRange(Number(iterations), MAX_ITERATIONS) ||
    !inRange(Number(keyBytes), MAX_KEY_BYTES)
  ) {
    return refuse("the algorithm can't be used");
  }
  const derived = deriveKey(known.secret, { alg, key, time: Number(time) }, digest.toLowerCase(), {
    iterations: Number(iterations),
    keyBytes: Number(keyBytes),
  });
  const signed = openToken(token, derived);
  if (signed === undefined) return refuse("wrong signature");
  if (signed.atMs > nowMs) return refuse("signed in the future");
  if (signed.atMs + MAX_AGE_MS <= nowMs) return refuse("signature expired");
  if (known.identifier !== undefined && known.identifier !== signed.identifier) {
    return refuse("the key belongs to another device");
  }
  return { identifier: signed.identifier };
}

/** The headers of a device that holds `secret`, signed at `timeS`; for tests. */
export function signNh1(
  credentials: { readonly key: string; readonly secret: string; readonly identifier: string },
  timeS: number,
  alg = "NH1-HMAC-sha256-1000-32",
): Record<string, string> {
  const { key, secret, identifier } = credentials;
  const [, , digest = "", iterations = "", keyBytes = ""] = alg.split("-");
  const derived = deriveKey(secret, { alg, key, time: timeS }, digest, {
    iterations: Number(iterations),
    keyBytes: Number(keyBytes),
  });
  const name = Buffer.from(identifier);
  const payload = Buffer.alloc(3 + 5 + name.length + 9 + 5);
  payload.set([0x83, 0x68, 0x03, 0x6d]);
  payload.writeUInt32BE(name.length, 4);
  payload.set(name, 8);
  payload.set([0x6e, 6, 0], 8 + name.length);
  payload.writeUIntLE(timeS * 1000, 11 + name.length, 6);
  payload.set([0x62, 0x00, 0x01, 0x51, 0x80], 17 + name.length); // max_age 86400
  const body = `SFMyNTY.${payload.toString("base64url")}`;
  return {
    "x-nh-alg": alg,
    "x-nh-key": key,
    "x-nh-time": String(timeS),
    "x-nh-signature": `${body}.${createHmac("sha256", derived).update(body).digest("base64url")}`,
  };
}

function text(headers: Headers, name: string): string | undefined {
  const value = headers[name];
  return typeof value === "string" ? value : undefined;
}

function inRange(value: number, max: number): boolean {
  return value >= 1 && value <= max;
}

function deriveKey(
  secret: string,
  signed: { readonly alg: string; readonly key: string; readonly time: number },
  digest: string,
  size: { readonly iterations: number; readonly keyBytes: number },
): Buffer {
  const salt = [
    "NH1:device-socket:shared-secret:connect",
    "",
    `x-nh-alg=${signed.alg}`,
    `x-nh-key=${signed.key}`,
    `x-nh-time=${signed.time}`,
    "",
  ].join("\n");
  return pbkdf2Sync(secret, salt, size.iterations, size.keyBytes, digest);
}

/** Opens a Plug.Crypto token. Its HMAC is always SHA-256, also when another digest derived the key. */
function openToken(token: string, key: Buffer): { identifier: string; atMs: number } | undefined {
  const [header = "", payload = "", signature = "", ...rest] = token.split(".");
  if (header !== "SFMyNTY" || rest.length > 0) return undefined;
  const expected = createHmac("sha256", key).update(`${header}.${payload}`).digest();
  const given = Buffer.from(signature, "base64url");
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  return readTerm(Buffer.from(payload, "base64url"));
}

/** Reads Erlang's external format of `{identifier, signed_at_ms, max_age_s}`. */
function readTerm(term: Buffer): { identifier: string; atMs: number } | undefined {
  const bytes = [...term];
  const take = (count: number): number[] => bytes.splice(0, count);
  if (take(4).join() !== "131,104,3,109") return undefined; // a tuple of three, a binary first
  const size = Buffer.from(take(4));
  if (size.length < 4) return undefined;
  const identifier = Buffer.from(take(size.readUInt32BE())).toString("utf8");
  const [tag] = take(1);
  if (tag === 0x62) return { identifier, atMs: Buffer.from([...take(4), 0, 0, 0, 0]).readInt32BE() };
  if (tag !== 0x6e) return undefined;
  const [count = 0, negative = 0] = take(2);
  if (count < 1 || count > 6 || bytes.length < count) return undefined;
  const atMs = Buffer.from(take(count)).readUIntLE(0, count);
  return { identifier, atMs: negative === 0 ? atMs : -atMs };
}
