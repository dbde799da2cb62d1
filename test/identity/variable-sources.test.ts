/** Certificate and key in variables, in every form in which people put lines into one. */
import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { type Authority, createAuthority, type Issued } from "./authority.ts";
import { createDevice, type Device } from "./device.ts";
import { failure } from "./failure.ts";

let root: Authority;
let issued: Issued;
let batch: Authority;
before(async () => {
  root = await createAuthority();
  batch = await root.subordinate("CN=Batch CA");
  issued = await batch.issue({ subject: "CN=dev-1" });
});

const base64 = (content: string | Buffer): string => Buffer.from(content).toString("base64");

/** How people bring several lines into one variable. */
const FORMS: Readonly<Record<string, (pem: string, der: Buffer) => string>> = {
  PEM: (pem) => pem,
  "PEM with CRLF": (pem) => pem.replaceAll("\n", "\r\n"),
  "PEM, line breaks turned to blanks": (pem) => pem.replaceAll("\n", " "),
  "PEM, line breaks lost": (pem) => pem.replaceAll("\n", ""),
  "PEM, line breaks written as \\n": (pem) => pem.replaceAll("\n", "\\n"),
  "base64 of PEM": (pem) => base64(pem),
  "base64 of PEM in lines": (pem) => base64(pem).replace(/.{76}/g, "$&\n"),
  "base64 of PEM without line breaks": (pem) => base64(pem.replaceAll("\n", "")),
  "base64 of DER": (_pem, der) => base64(der),
};

const SOURCES = {
  env: {
    cert: "DEVICE_CERT",
    key: "DEVICE_KEY",
    called: "environment",
    of: (device: Device) => device.env,
  },
  "uboot-env": {
    cert: "nerves_hub_cert",
    key: "nerves_hub_key",
    called: "U-Boot",
    of: (device: Device) => device.variables,
  },
} as const;

for (const [source, { cert, key, called, of }] of Object.entries(SOURCES)) {
  const load = async (device: Device) => device.load({ source: source as keyof typeof SOURCES });

  describe(`an identity in variables, source = "${source}"`, () => {
    for (const [form, write] of Object.entries(FORMS)) {
      it(`accepts ${form}`, async () => {
        await using device = await createDevice();
        const pem = issued.key.export({ format: "pem", type: "pkcs8" }).toString();
        of(device)
          .set(cert, write(issued.pem, issued.der))
          .set(key, write(pem, issued.key.export({ format: "der", type: "sec1" })));
        const identity = await load(device);
        assert.equal(identity.identifier, "dev-1");
        assert.equal(identity.describe().source, `${called} variable ${key}`);
        const { tls } = await identity.connection(0);
        assert.deepEqual(tls, { kind: "direct", cert: issued.pem, key: pem });
      });
    }

    it("uses intermediates that follow the certificate", async () => {
      await using device = await createDevice();
      const both = `${issued.pem}${batch.pem}`;
      const sec1 = issued.key.export({ format: "pem", type: "sec1" }).toString();
      of(device).set(cert, both.replaceAll("\n", " ")).set(key, sec1.replaceAll("\n", " "));
      const { tls } = await (await load(device)).connection(0);
      assert.ok(tls.kind === "direct" && tls.cert === both);
    });

    it("fails with the name of a missing or wrong variable, and does not show its value", async () => {
      await using device = await createDevice();
      const variables = of(device);
      const name = (variable: string): string => `the ${called} variable ${variable}`;
      await assert.rejects(load(device), {
        code: "key_missing",
        message: `certificate: ${name(cert)} is not set; hublink identity --csr requests one`,
      });
      variables.set(cert, base64(issued.der));
      await assert.rejects(load(device), {
        code: "key_missing",
        message: `key: ${name(key)} is not set`,
      });
      variables.set(key, "!secret!");
      await assert.rejects(load(device), failure("no-input", `${name(key)} holds neither PEM nor base64`));
      const der = issued.key.export({ format: "der", type: "pkcs8" });
      variables.set(key, base64(der.subarray(0, 40)));
      await assert.rejects(
        load(device),
        failure("no-input", `key ${called} variable ${key}: no private key`),
      );
      const encryption = { cipher: "aes-256-cbc", passphrase: "right" };
      variables.set(key, base64(issued.key.export({ format: "pem", type: "pkcs8", ...encryption })));
      await assert.rejects(load(device), failure("config", key, "encrypted; store it without a passphrase"));
      const other = await root.issue({ subject: "CN=dev-2" });
      variables.set(key, base64(other.key.export({ format: "der", type: "pkcs8" })));
      await assert.rejects(load(device), failure("config", key, cert, "does not belong"));
    });
  });
}
