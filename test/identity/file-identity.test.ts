/** An identity in files: what it says, which files are refused and why, and what happens when they are replaced. */
import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmod, mkdir, rename, rm } from "node:fs/promises";
import { before, describe, it } from "node:test";
import type { Identity } from "../../src/identity/identity.ts";
import { type Authority, createAuthority, type Issued } from "./authority.ts";
import { createDevice, type Device } from "./device.ts";
import { failure } from "./failure.ts";

let root: Authority;
let issued: Issued;
before(async () => {
  root = await createAuthority("CN=Test CA, O=Example");
  issued = await root.issue({ subject: "CN=dev-1, O=Example" });
});

const pem = (key: KeyObject): string => key.export({ format: "pem", type: "pkcs8" }).toString();

async function certificateOf(identity: Identity): Promise<string | undefined> {
  const { tls } = await identity.connection(0);
  return tls.kind === "direct" ? tls.cert : undefined;
}

async function deviceWith(certificate: string | Uint8Array, key: string | Uint8Array): Promise<Device> {
  const device = await createDevice();
  await device.write(device.certFile, certificate);
  await device.write(device.keyFile, key);
  return device;
}

describe("an identity in files", () => {
  it("is named by its certificate, and shows the facts of the certificate", async () => {
    await using device = await deviceWith(issued.pem, pem(issued.key));
    const identity = await device.load();
    assert.equal(identity.identifier, "dev-1");
    const { certificate, source, warnings } = identity.describe();
    assert.equal(source, `file ${device.keyFile}`);
    assert.equal(certificate?.subject, "CN=dev-1, O=Example");
    assert.equal(certificate.issuer, "CN=Test CA, O=Example");
    assert.equal(certificate.sha256, issued.sha256);
    assert.equal(certificate.sha1, issued.sha1);
    assert.deepEqual(warnings, []);
    assert.deepEqual(device.lines, []);
  });

  it("keeps a configured identifier, and warns that the hub uses the certificate's name", async () => {
    await using device = await deviceWith(issued.pem, pem(issued.key));
    const identity = await device.load({ identifier: "dev-2" });
    assert.equal(identity.identifier, "dev-2");
    assert.match(identity.describe().warnings.join(), /common name is dev-1, the identifier dev-2/);
  });

  it("has the first of several common names", async () => {
    const several = await root.issue({ subject: "CN=first, CN=second" });
    await using device = await deviceWith(several.pem, pem(several.key));
    assert.equal((await device.load()).identifier, "first");
  });

  for (const subject of ["O=Example", ""]) {
    it(`is named by the serial number when the certificate's subject is "${subject}"`, async () => {
      const nameless = await root.issue({ subject });
      await using device = await deviceWith(nameless.pem, pem(nameless.key));
      const identity = await device.load();
      assert.equal(identity.identifier, "serial-1");
      assert.equal(identity.describe().certificate?.subject, subject);
    });
  }

  it("only warns about dates, since the board may have no clock", async () => {
    const dates = { notBefore: new Date("2030-01-01T00:00:00Z"), notAfter: new Date("2040-01-01T00:00:00Z") };
    const dated = await root.issue({ subject: "CN=dev-1", ...dates });
    await using device = await deviceWith(dated.pem, pem(dated.key));
    device.clock.jump(0 - device.clock.now());
    const identity = await device.load();
    assert.match(device.lines.join(), /^warn .*not valid before 2030-01-01.*clock says 1970-01-01/);
    assert.deepEqual(identity.describe().certificate?.notBefore, dates.notBefore);
    assert.deepEqual(identity.describe().certificate?.notAfter, dates.notAfter);
    device.clock.jump(Date.UTC(2035));
    assert.deepEqual(identity.describe().warnings, []);
    device.clock.jump(Date.UTC(2041) - Date.UTC(2035));
    assert.match(identity.describe().warnings.join(), /expired at 2040-01-01.*clock says 2041/);
  });

  it("never shows the key", async () => {
    await using device = await deviceWith(issued.pem, pem(issued.key));
    const identity = await device.load();
    assert.doesNotMatch(JSON.stringify([identity, identity.describe()]), /PRIVATE KEY/);
  });
});

describe("an identity in files is refused, naming the file,", () => {
  const cases: Record<string, (device: Device) => Promise<ReturnType<typeof failure>>> = {
    "when the certificate is missing": async (device) => {
      await rm(device.certFile);
      return failure("no-input", `certificate ${device.certFile} does not exist`);
    },
    "when the key is missing": async (device) => {
      await rm(device.keyFile);
      return failure("no-input", `key ${device.keyFile} does not exist`);
    },
    "when the key is a folder": async (device) => {
      await rm(device.keyFile);
      await mkdir(device.keyFile);
      return failure("no-input", device.keyFile, "not a regular file");
    },
    "when others may read the key": async (device) => {
      await chmod(device.keyFile, 0o640);
      return failure("config", `chmod 600 ${device.keyFile}`, "mode 0640");
    },
    "when the certificate is garbage": async (device) => {
      await device.write(device.certFile, "hello");
      return failure("no-input", device.certFile, "expected PEM (BEGIN CERTIFICATE) or DER");
    },
    "when the certificate is damaged": async (device) => {
      await device.write(device.certFile, issued.pem.replace(/\n.{64}\n/, "\n"));
      return failure("no-input", `certificate ${device.certFile} is damaged`);
    },
    "when the certificate file holds the key": async (device) => {
      await device.write(device.certFile, pem(issued.key));
      return failure("no-input", device.certFile, "it holds: PRIVATE KEY");
    },
    "when the key is garbage": async (device) => {
      await device.write(device.keyFile, "hello");
      return failure("no-input", device.keyFile, "expected PEM or DER: PKCS#8, SEC1 (EC) or PKCS#1 (RSA)");
    },
    "when the key is damaged": async (device) => {
      await device.write(device.keyFile, pem(issued.key).replace(/\n.{64}\n/, "\n"));
      return failure("no-input", `key ${device.keyFile} is damaged`);
    },
    "when the key file holds the certificate": async (device) => {
      await device.write(device.keyFile, issued.pem);
      return failure("no-input", device.keyFile, "it holds: CERTIFICATE");
    },
    "when the key file holds a public key": async (device) => {
      await device.write(device.keyFile, issued.publicKeyPem);
      return failure("no-input", device.keyFile, "it holds: PUBLIC KEY");
    },
    "when key and certificate don't belong together": async (device) => {
      await device.write(device.keyFile, pem((await root.issue({ subject: "CN=dev-2" })).key));
      return failure("config", device.keyFile, device.certFile, "does not belong");
    },
    "when an EC certificate comes with an RSA key": async (device) => {
      const other = await root.issue({ subject: "CN=dev-2", kind: "RSA 2048" });
      await device.write(device.keyFile, pem(other.key));
      return failure("config", device.keyFile, device.certFile, "does not belong");
    },
    "when the key is of a kind that hubs don't take": async (device) => {
      await device.write(device.keyFile, pem(generateKeyPairSync("ed25519").privateKey));
      return failure("config", `key ${device.keyFile} is of type ed25519; use EC P-256`);
    },
    "when the curve is one that hubs don't take": async (device) => {
      const { privateKey } = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
      await device.write(device.keyFile, pem(privateKey));
      return failure("config", `key ${device.keyFile} is of type ec secp256k1; use EC P-256`);
    },
    "when TLS does not take the key": async (device) => {
      const short = await root.issue({ subject: "CN=dev-1", kind: "RSA 512" });
      await device.write(device.certFile, short.pem);
      await device.write(device.keyFile, pem(short.key));
      return failure("config", "TLS does not take", device.certFile, device.keyFile, "too small");
    },
  };
  for (const [name, prepare] of Object.entries(cases)) {
    it(name, async () => {
      await using device = await deviceWith(issued.pem, pem(issued.key));
      const expected = await prepare(device);
      await assert.rejects(device.load(), expected);
    });
  }

  it("when the configuration names no certificate or no key", async () => {
    await using device = await deviceWith(issued.pem, pem(issued.key));
    await assert.rejects(device.load({}, { certFile: "" }), failure("config", "identity.file.cert_file"));
    await assert.rejects(device.load({}, { keyFile: "" }), failure("config", "identity.file.key_file"));
  });

  const encryption = { cipher: "aes-256-cbc", passphrase: "right" };
  const encryptedForms = {
    "PKCS#8 PEM": () => issued.key.export({ format: "pem", type: "pkcs8", ...encryption }),
    "PKCS#8 DER": () => issued.key.export({ format: "der", type: "pkcs8", ...encryption }),
    "SEC1 PEM": () => issued.key.export({ format: "pem", type: "sec1", ...encryption }),
  };
  for (const [form, encrypted] of Object.entries(encryptedForms)) {
    it(`when the passphrase of an encrypted key (${form}) is missing or wrong`, async () => {
      await using device = await deviceWith(issued.pem, encrypted());
      const { keyFile, passphraseFile } = device;
      await assert.rejects(
        device.load(),
        failure("config", keyFile, "encrypted; set identity.file.key_passphrase_file"),
      );
      await device.write(passphraseFile, "wrong");
      await assert.rejects(device.load({}, { keyPassphraseFile: passphraseFile }), (error: unknown) => {
        failure("config", keyFile, "can't be decrypted")(error);
        assert.doesNotMatch(String(error), /: wrong/);
        return true;
      });
    });
  }

  it("when others may read the passphrase", async () => {
    await using device = await deviceWith(issued.pem, pem(issued.key));
    await device.write(device.passphraseFile, "right");
    await chmod(device.passphraseFile, 0o604);
    const loading = device.load({}, { keyPassphraseFile: device.passphraseFile });
    await assert.rejects(loading, failure("config", `chmod 600 ${device.passphraseFile}`));
  });
});

describe("files that are replaced while the agent runs", () => {
  it("are used at the next connection", async () => {
    await using device = await deviceWith(issued.pem, pem(issued.key));
    const identity = await device.load();
    const first = await identity.connection(0);
    assert.deepEqual(await identity.connection(0), first);

    const renewed = await root.issue({ subject: "CN=dev-1b" });
    await device.write(`${device.certFile}.new`, renewed.pem);
    await device.write(`${device.keyFile}.new`, pem(renewed.key));
    await rename(`${device.certFile}.new`, device.certFile);
    await rename(`${device.keyFile}.new`, device.keyFile);
    const { tls } = await identity.connection(0);
    assert.deepEqual(tls, { kind: "direct", cert: renewed.pem, key: pem(renewed.key) });
    assert.equal(identity.identifier, "dev-1b");
    assert.equal(identity.describe().certificate?.sha256, renewed.sha256);
  });

  it("leave the old ones in use while they are broken, which is reported once for each change", async () => {
    await using device = await deviceWith(issued.pem, pem(issued.key));
    const identity = await device.load();
    const first = await identity.connection(0);

    const renewed = await root.issue({ subject: "CN=dev-1" });
    await device.write(device.certFile, renewed.pem); // half way: the key is still the old one
    assert.deepEqual(await identity.connection(0), first);
    assert.deepEqual(await identity.connection(0), first);
    const warned = device.lines.filter((line) => line.startsWith("warn"));
    assert.equal(warned.length, 1, warned.join("\n"));
    assert.match(warned.join(), /still on the old certificate and key: .*does not belong/);
    assert.match(identity.describe().warnings.join(), /still on the old/);

    await rm(device.keyFile);
    assert.deepEqual(await identity.connection(0), first);
    assert.match(identity.describe().warnings.join(), /key .* does not exist/);

    await device.write(device.keyFile, pem(renewed.key));
    assert.equal(await certificateOf(identity), renewed.pem);
    assert.deepEqual(identity.describe().warnings, []);
  });

  it("are used as soon as their mode is right", async () => {
    await using device = await deviceWith(issued.pem, pem(issued.key));
    const identity = await device.load();
    const renewed = await root.issue({ subject: "CN=dev-1" });
    await device.write(device.certFile, renewed.pem);
    await device.write(device.keyFile, pem(renewed.key));
    await chmod(device.keyFile, 0o644);
    assert.equal(await certificateOf(identity), issued.pem);
    await chmod(device.keyFile, 0o600);
    assert.equal(await certificateOf(identity), renewed.pem);
  });
});
