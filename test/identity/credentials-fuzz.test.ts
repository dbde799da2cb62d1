/**
 * Damaged and random certificate and key files: an identity is loaded or refused, and nothing throws anything
 * else.
 */
import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import fc from "fast-check";
import { Failure } from "../../src/platform/failure.ts";
import { type Authority, createAuthority, type Issued, type KeyKind, keyKinds } from "./authority.ts";
import { createDevice, type Device } from "./device.ts";

const RUNS = 300;

let root: Authority;
const issued = new Map<KeyKind, Issued>();
before(async () => {
  root = await createAuthority();
  for (const kind of keyKinds) issued.set(kind, await root.issue({ subject: "CN=dev-1", kind }));
});

/** Flips, cuts and repeats bytes, as bad flash and half-written files do. */
const damage = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    kind: fc.constantFrom("flip", "cut", "insert", "end"),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 4 }),
  }),
  { minLength: 1, maxLength: 3 },
);

function damaged(
  content: Buffer,
  wounds: readonly { at: number; kind: string; bytes: Uint8Array }[],
): Buffer {
  let result = Buffer.from(content);
  for (const { at, kind, bytes } of wounds) {
    const offset = Math.floor(at * result.length);
    const [head, tail] = [result.subarray(0, offset), result.subarray(offset)];
    if (kind === "end") result = Buffer.from(head);
    else if (kind === "insert") result = Buffer.concat([head, bytes, tail]);
    else if (kind === "cut") result = Buffer.concat([head, tail.subarray(bytes.length)]);
    else result = Buffer.concat([head, bytes, tail.subarray(bytes.length)]);
  }
  return result;
}

/** Loads an identity and uses all of it; a Failure is accepted. */
async function loadOrFailure(device: Device, passphraseFile = ""): Promise<void> {
  try {
    const identity = await device.load({}, { keyPassphraseFile: passphraseFile });
    identity.describe();
    await identity.connection(0);
  } catch (error) {
    assert.ok(error instanceof Failure, error instanceof Error ? error.stack : String(error));
    assert.doesNotMatch(error.message, /\n/);
  }
}

describe("an identity is loaded or refused with a Failure, with files of", () => {
  it("random bytes", async () => {
    await using device = await createDevice();
    await device.write(device.passphraseFile, "pass");
    const pemLike = fc
      .tuple(fc.constantFrom("CERTIFICATE", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), fc.base64String())
      .map(([label, body]) => Buffer.from(`-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`));
    const content = fc.oneof(fc.uint8Array({ maxLength: 200 }), pemLike);
    const good = issued.get("EC P-256");
    assert.ok(good !== undefined);
    await fc.assert(
      fc.asyncProperty(content, fc.boolean(), async (bytes, inKey) => {
        await device.write(device.certFile, inKey ? good.pem : bytes);
        await device.write(device.keyFile, bytes);
        await loadOrFailure(device);
        await loadOrFailure(device, device.passphraseFile);
      }),
      { numRuns: RUNS },
    );
  });

  for (const kind of keyKinds) {
    it(`a damaged certificate or key, ${kind}`, async () => {
      await using device = await createDevice();
      await device.write(device.passphraseFile, "pass");
      const good = issued.get(kind);
      assert.ok(good !== undefined);
      const encryption = { type: "pkcs8", cipher: "aes-128-cbc", passphrase: "pass" } as const;
      const keys = [
        good.key.export({ format: "der", type: "pkcs8" }),
        good.key.export({ format: "der", type: kind.startsWith("EC") ? "sec1" : "pkcs1" }),
        Buffer.from(good.key.export({ format: "pem", type: "pkcs8" })),
        good.key.export({ format: "der", ...encryption }),
        Buffer.from(good.key.export({ format: "pem", ...encryption })),
      ];
      const files = [
        ...[good.der, Buffer.from(good.pem)].map((certificate) => ({ certificate, key: keys[0] })),
        ...keys.map((key) => ({ certificate: good.der, key })),
      ];
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...files.keys()), damage, async (which, wounds) => {
          const { certificate = good.der, key = good.der } = files[which] ?? {};
          const inCertificate = which < 2;
          await device.write(device.certFile, inCertificate ? damaged(certificate, wounds) : certificate);
          await device.write(device.keyFile, inCertificate ? key : damaged(key, wounds));
          await loadOrFailure(device, device.passphraseFile);
        }),
        { numRuns: RUNS },
      );
    });
  }
});
