/** The signature of a shared secret, compared with Plug.Crypto's own. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { it } from "node:test";
import { number, object, parse, string } from "valibot";
import { signConnect } from "../../src/identity/shared-secret.ts";
import { fixture, fixturesMissing } from "../fixtures.ts";

const Vector = object({
  key: string(),
  secret: string(),
  identifier: string(),
  time: number(),
  alg: string(),
  "x-nh-signature": string(),
});

it("signs byte for byte as plug_crypto does", { skip: fixturesMissing }, async () => {
  const vector = parse(Vector, JSON.parse(await readFile(fixture("nh1-vector.json"), "utf8")));
  const { key, secret, identifier, time } = vector;
  assert.deepEqual(signConnect({ key, secret, identifier, timeS: time }), {
    "x-nh-alg": vector.alg,
    "x-nh-key": key,
    "x-nh-time": String(time),
    "x-nh-signature": vector["x-nh-signature"],
  });
});

it("signs for the whole second, never for a later time", () => {
  const claim = { key: "nhp_abc", secret: "s3cr3t", identifier: "dev-1" };
  assert.deepEqual(
    signConnect({ ...claim, timeS: 1_700_000_000.999 }),
    signConnect({ ...claim, timeS: 1_700_000_000 }),
  );
});

it("counts an identifier in bytes, not in characters", () => {
  const headers = signConnect({ key: "k", secret: "s", identifier: "gerät", timeS: 1_700_000_000 });
  const payload = Buffer.from(headers["x-nh-signature"]?.split(".")[1] ?? "", "base64url");
  assert.equal(payload.readUInt32BE(4), 6);
  assert.equal(payload.subarray(8, 14).toString(), "gerät");
});
