/** An identity by shared secret, from a file or the U-Boot environment. */
import assert from "node:assert/strict";
import { chmod, rm } from "node:fs/promises";
import { describe, it } from "node:test";
import { signConnect } from "../../src/identity/shared-secret.ts";
import { createDevice, type Device } from "./device.ts";
import { failure } from "./failure.ts";

const TIME_S = 1_700_000_000;

async function deviceWith(secret: string): Promise<Device> {
  const device = await createDevice();
  await device.write(device.secretFile, secret);
  return device;
}

describe("an identity by shared secret", () => {
  it("signs each connection at its own time", async () => {
    await using device = await deviceWith("s3cr3t\n");
    const identity = await device.load({ source: "shared-secret", identifier: "dev-1" });
    for (const timeS of [TIME_S, TIME_S + 60]) {
      assert.deepEqual(await identity.connection(timeS), {
        path: "/device-socket/websocket",
        tls: { kind: "none" },
        headers: signConnect({ key: "nhp_abc", secret: "s3cr3t", identifier: "dev-1", timeS }),
      });
    }
  });

  it("is named by the board's serial number and shows neither key nor secret", async () => {
    await using device = await deviceWith("s3cr3t");
    const identity = await device.load({ source: "shared-secret" });
    assert.equal(identity.identifier, "serial-1");
    const { secretFile } = device;
    assert.deepEqual(identity.describe(), {
      source: `shared secret of ${secretFile}`,
      warnings: [],
    });
  });

  it("uses a replaced secret at the next connection, and keeps the old one while the new one is broken", async () => {
    await using device = await deviceWith("old");
    const identity = await device.load({ source: "shared-secret" });
    const signature = async (): Promise<string | undefined> =>
      (await identity.connection(TIME_S)).headers["x-nh-signature"];
    const expected = (secret: string): string | undefined =>
      signConnect({ key: "nhp_abc", secret, identifier: "serial-1", timeS: TIME_S })["x-nh-signature"];

    await device.write(device.secretFile, "");
    assert.equal(await signature(), expected("old"));
    assert.equal(await signature(), expected("old"));
    assert.equal(device.lines.length, 1, device.lines.join("\n"));
    assert.match(device.lines.join(), /^warn still on the old secret: .* is empty/);
    assert.match(identity.describe().warnings.join(), /still on the old secret/);

    await device.write(device.secretFile, "new");
    assert.equal(await signature(), expected("new"));
    assert.deepEqual(identity.describe().warnings, []);
  });

  it("is refused when key or secret can't be used", async () => {
    await using device = await deviceWith("s3cr3t");
    const { secretFile } = device;
    const load = async (key: string, path: string): Promise<unknown> =>
      device.load({ source: "shared-secret", sharedSecret: { key, secretFile: path } });
    await assert.rejects(load("", secretFile), failure("config", "identity.shared_secret.key is not set"));
    await assert.rejects(load("nhp_abc", ""), failure("config", "shared_secret.secret_file is not set"));
    await assert.rejects(
      load("a\r\nb: c", secretFile),
      failure("config", "the key of the shared secret", "holds blanks"),
    );
    await chmod(secretFile, 0o644);
    await assert.rejects(load("nhp_abc", secretFile), failure("config", `chmod 600 ${secretFile}`));
    await device.write(secretFile, "\n");
    await chmod(secretFile, 0o600);
    await assert.rejects(load("nhp_abc", secretFile), failure("config", `${secretFile} is empty`));
    await rm(secretFile);
    await assert.rejects(load("nhp_abc", secretFile), failure("no-input", secretFile));
  });
});

describe("a shared secret kept in the U-Boot environment", () => {
  const load = async (variables: Readonly<Record<string, string>>) => {
    await using device = await createDevice();
    for (const [name, value] of Object.entries(variables)) device.variables.set(name, value);
    return await device.load({ source: "shared-secret", sharedSecret: { key: "", secretFile: "" } });
  };
  const product = { nh_shared_product_key: "nhp_p", nh_shared_product_secret: "product" };
  const device = { nh_shared_key: "nhd_d", nh_shared_secret: "device" };

  it("signs with the product's key", async () => {
    const identity = await load(product);
    assert.deepEqual(
      (await identity.connection(TIME_S)).headers,
      signConnect({ key: "nhp_p", secret: "product", identifier: "serial-1", timeS: TIME_S }),
    );
    assert.doesNotMatch(JSON.stringify(identity.describe()), /nhp_p|"product"/);
  });

  it("prefers the device's own key to the product's", async () => {
    const identity = await load({ ...product, ...device });
    assert.equal((await identity.connection(TIME_S)).headers["x-nh-key"], "nhd_d");
  });

  it("ignores a key without its secret", async () => {
    const identity = await load({ ...product, nh_shared_key: "nhd_d" });
    assert.equal((await identity.connection(TIME_S)).headers["x-nh-key"], "nhp_p");
  });

  it("names the variables when there is none", async () => {
    await assert.rejects(load({}), failure("config", /nh_shared_key and nh_shared_secret/));
  });
});
