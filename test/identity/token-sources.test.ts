/** Keys in a token or TPM, up to the point where the chip is opened; and how certificates near their end are reported. */
import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import type { Config } from "../../src/config/schema.ts";
import { type Authority, createAuthority, type Issued } from "./authority.ts";
import { createDevice, type Device } from "./device.ts";
import { failure } from "./failure.ts";

const MODULE = "/usr/lib/libcryptoauth.so";
const URI = "pkcs11:token=agent;id=%01;type=private";
const TSS2 = "-----BEGIN TSS2 PRIVATE KEY-----\nMIHw\n-----END TSS2 PRIVATE KEY-----\n";

let root: Authority;
let issued: Issued;
before(async () => {
  root = await createAuthority();
  issued = await root.issue({ subject: "CN=dev-1" });
});

async function deviceWithCertificate(): Promise<Device> {
  const device = await createDevice();
  await device.write(device.certFile, issued.pem);
  return device;
}

/** None of this opens the token: that costs seconds, and its PIN has few tries. */
describe("an identity whose key stays in a PKCS#11 token", () => {
  const load = async (
    device: Device,
    change: Partial<Config["identity"]["pkcs11"]> = {},
    tls?: Config["identity"]["tls"],
  ) =>
    device.load({
      source: "pkcs11",
      pkcs11: {
        module: MODULE,
        uri: URI,
        pinFile: device.secretFile,
        certFile: device.certFile,
        ...change,
      },
      ...(tls !== undefined && { tls }),
    });

  it("is given to a helper, with its PIN", async () => {
    await using device = await deviceWithCertificate();
    await device.write(device.secretFile, "13 57\n");
    const identity = await load(device);
    assert.equal(identity.describe().source, URI);
    const { tls } = await identity.connection(0);
    assert.ok(tls.kind === "helper" && tls.key.kind === "pkcs11");
    assert.equal(tls.cert, issued.pem);
    assert.equal(tls.key.pin?.text, "13 57");
  });

  it("never shows its PIN", async () => {
    await using device = await deviceWithCertificate();
    await device.write(device.secretFile, "135799");
    const identity = await load(device);
    assert.doesNotMatch(JSON.stringify([identity, identity.describe(), device.lines]), /135799/);
  });

  const wrongUris: Readonly<Record<string, string>> = {
    "pkcs11:token=agent;id=%01?pin-value=135799": "holds a PIN or its source",
    "pkcs11:token=agent;id=%01;pin-value=135799": "holds a PIN or its source",
    "pkcs11:id=%01?pin-source=file:/pin": "holds a PIN or its source",
    "pkcs11:id=%01?module-path=/x.so": "has a query",
    "pkcs11:token=agent": "names no key",
    "pkcs11:id=%01;id=%02": 'is wrong at "id"',
    "pkcs11:id=%01\nengineCtrl = PIN:1": "is no PKCS#11 URI",
    "http://x": "is no PKCS#11 URI",
  };
  for (const [uri, words] of Object.entries(wrongUris)) {
    it(`is refused with the URI ${JSON.stringify(uri)}`, async () => {
      await using device = await deviceWithCertificate();
      await assert.rejects(load(device, { uri }), (error: unknown) => {
        failure("config", `identity.pkcs11.uri ${words}`)(error);
        assert.doesNotMatch(String(error), /135799/);
        return true;
      });
    });
  }

  it("is refused with a library that is not a full path, or is more than one line", async () => {
    await using device = await deviceWithCertificate();
    for (const module of ["", "cryptoauth.so", "/lib/x.so\nengineCtrl = PIN:1"]) {
      await assert.rejects(load(device, { module }), failure("config", "identity.pkcs11.module"));
    }
  });

  for (const [what, pin] of [
    ["empty", "\n"],
    ["of two lines", "1357\n99\n"],
    ["padded with blanks", " 135799"],
  ] as const) {
    it(`is refused with a PIN that is ${what}, and does not show it`, async () => {
      await using device = await deviceWithCertificate();
      await device.write(device.secretFile, pin);
      await assert.rejects(load(device), (error: unknown) => {
        failure("config", `PIN file ${device.secretFile}: expected one line`)(error);
        assert.doesNotMatch(String(error), /1357/);
        return true;
      });
    });
  }

  it("can't do TLS in this process", async () => {
    await using device = await deviceWithCertificate();
    await device.write(device.secretFile, "1");
    await assert.rejects(load(device, {}, "direct"), failure("config", 'identity.tls = "direct"', URI));
  });
});

describe("an identity whose key only a TPM can use", () => {
  const load = async (device: Device, key = device.keyFile) =>
    device.load({ source: "tpm2", tpm2: { key, certFile: device.certFile, tcti: "device:/dev/tpmrm0" } });

  it("is given to a helper, with the path to the TPM", async () => {
    await using device = await deviceWithCertificate();
    await device.write(device.keyFile, TSS2);
    const { tls } = await (await load(device)).connection(0);
    assert.ok(tls.kind === "helper" && tls.key.kind === "tpm2");
    assert.deepEqual([tls.key.pem, tls.key.tcti], [TSS2, "device:/dev/tpmrm0"]);
  });

  it("is refused when its file holds another kind of key, or it is named by a handle", async () => {
    await using device = await deviceWithCertificate();
    await device.write(device.keyFile, issued.key.export({ format: "pem", type: "pkcs8" }));
    await assert.rejects(
      load(device),
      failure("no-input", device.keyFile, "no TSS2 PRIVATE KEY", "it holds: PRIVATE KEY"),
    );
    await assert.rejects(load(device, "0x81000001"), failure("config", "0x81000001", "TSS2 PEM file"));
  });
});

it("an engine is for keys in a PKCS#11 token only", async () => {
  await using device = await deviceWithCertificate();
  await device.write(device.keyFile, issued.key.export({ format: "pem", type: "pkcs8" }));
  await assert.rejects(
    device.load({ tls: "engine" }),
    failure("config", 'identity.tls = "engine"', device.keyFile),
  );
});

describe("a certificate's last days", () => {
  const at = async (days: number, notBefore: string, notAfter: string) => {
    await using device = await createDevice();
    const own = await root.issue({
      subject: "CN=dev-1",
      notBefore: new Date(notBefore),
      notAfter: new Date(notAfter),
    });
    await device.write(device.certFile, own.pem);
    await device.write(device.keyFile, own.key.export({ format: "pem", type: "pkcs8" }));
    device.clock.jump(Date.parse(notAfter) - days * 86_400_000 - device.clock.now());
    const { validity, warnings } = (await device.load()).describe();
    return { validity, warning: warnings.join() };
  };

  it("are reported as an alarm", async () => {
    const long = ["2030-01-01T00:00:00Z", "2040-01-01T00:00:00Z"] as const;
    assert.deepEqual(await at(31, ...long), { validity: "valid", warning: "" });
    const soon = await at(29.5, ...long);
    assert.equal(soon.validity, "expiring");
    assert.equal(soon.warning, "the certificate expires at 2040-01-01T00:00:00.000Z, in 29 days; renew it");
    assert.equal((await at(-1, ...long)).validity, "expired");
    assert.equal((await at(3700, ...long)).validity, "not-yet-valid");
  });

  it("are the last third of a short life", async () => {
    const short = ["2030-01-01T00:00:00Z", "2030-01-10T00:00:00Z"] as const;
    assert.equal((await at(4, ...short)).validity, "valid");
    assert.equal((await at(2.9, ...short)).validity, "expiring");
  });
});
