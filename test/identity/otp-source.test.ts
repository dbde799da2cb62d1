/** The key in a Raspberry Pi's OTP memory, in every state that the memory can be in. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { type Authority, createAuthority, type Issued } from "./authority.ts";
import { createDevice, type Device } from "./device.ts";
import { failure } from "./failure.ts";

let root: Authority;
let issued: Issued;
let rows: Buffer;
before(async () => {
  root = await createAuthority();
  issued = await root.issue({ subject: "CN=pi-1" });
  // The tool writes the key's bytes into rows that are 32-bit numbers; the kernel gives them little-endian.
  rows = Buffer.from(issued.key.export({ format: "jwk" }).d ?? "", "base64url").swap32();
});

async function deviceWith(content: Buffer | undefined, name = "nvmem_priv0"): Promise<Device> {
  const device = await createDevice();
  await device.write(device.certFile, issued.pem);
  const folder = join(device.folder, "sys/bus/nvmem/devices", name);
  await mkdir(folder, { recursive: true });
  if (content !== undefined) await writeFile(join(folder, "nvmem"), content);
  return device;
}

const load = async (device: Device) => device.load({ source: "rpi-otp" });

describe("an identity in a Raspberry Pi's OTP memory", () => {
  for (const name of ["nvmem_priv0", "rpi-otp-private0"]) {
    it(`uses the key of ${name}, also of a longer memory as on a Pi 5`, async () => {
      for (const content of [rows, Buffer.concat([rows, Buffer.alloc(32)])]) {
        await using device = await deviceWith(content, name);
        const identity = await load(device);
        assert.equal(identity.identifier, "pi-1");
        const { tls } = await identity.connection(0);
        const key = issued.key.export({ format: "pem", type: "pkcs8" });
        assert.deepEqual(tls, { kind: "direct", cert: issued.pem, key });
      }
    });
  }

  const refused: Readonly<Record<string, readonly [() => Buffer | undefined, ReturnType<typeof failure>]>> = {
    "was never written": [() => Buffer.alloc(32), failure("no-input", "holds no key yet", "nvmem_priv0")],
    "is locked": [() => Buffer.alloc(32, 0xee), failure("io", "gave no rows", "nvmem_priv0")],
    "is too short": [() => rows.subarray(0, 16), failure("no-input", "has 16 bytes, fewer than 32")],
    "is not a P-256 key": [() => Buffer.alloc(32, 0xff), failure("no-input", "no P-256 private key")],
    "is another one's": [
      () => Buffer.alloc(32, 7),
      failure("config", "OTP key", "nvmem_priv0", "does not belong to the (first) certificate"),
    ],
    "has no file": [() => undefined, failure("no-input", "nvmem_priv0/nvmem does not exist")],
  };
  for (const [what, [content, expected]] of Object.entries(refused)) {
    it(`is refused when it ${what}`, async () => {
      await using device = await deviceWith(content());
      await assert.rejects(load(device), expected);
    });
  }

  it("is refused on a kernel without the driver", async () => {
    await using device = await createDevice();
    await device.write(device.certFile, issued.pem);
    await assert.rejects(load(device), failure("no-input", "no nvmem_priv*", "CONFIG_NVMEM_RASPBERRYPI_OTP"));
  });
});
