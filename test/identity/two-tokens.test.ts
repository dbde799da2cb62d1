/**
 * Two SoftHSM tokens in one library, each with a key of id 01 and its certificate: the certificate must come from
 * the token that the URI names. It once came from the first one, and the board took another's name.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { keygenCommand } from "../../src/identity/pkcs11.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { createDevice, type Device } from "./device.ts";
import { failure } from "./failure.ts";
import { certify, missing, output } from "./openssl.ts";
import { createSoftToken, type SoftToken } from "./soft-token.ts";

describe(
  "a board with two PKCS#11 tokens",
  { skip: missing("softhsm2-util", "pkcs11-tool", "openssl") },
  () => {
    let device: Device;
    let first: SoftToken;
    let second: SoftToken;
    before(async () => {
      device = await createDevice();
      const authority = join(device.folder, "ca.pem");
      const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
      const files = ["-keyout", join(device.folder, "ca.key"), "-out", authority];
      await output("openssl", ...request, "-subj", "/CN=Test CA", ...files);
      const create = async (label: string): Promise<SoftToken> => {
        const token = await createSoftToken(device.folder, "EC:prime256v1", label);
        const certificate = join(device.folder, `${label}.pem`);
        await certify(token.publicKey, `board-${label}`, authority, certificate);
        await token.store(certificate);
        return token;
      };
      first = await create("one");
      second = await create("two");
      await writeFile(device.secretFile, "135799\n", { mode: 0o600 });
    });
    after(async () => device[Symbol.asyncDispose]());

    const config = (uri: string) => ({
      module: first.module,
      uri,
      pinFile: device.secretFile,
      certFile: "",
    });
    const nameBy = async (tokenAttributes: string): Promise<string> => {
      const pkcs11 = config(`pkcs11:${tokenAttributes};id=%01;type=private`);
      return (await device.load({ source: "pkcs11", pkcs11 })).identifier;
    };

    it("has the name of the token that its serial number chooses", async () => {
      assert.equal(await nameBy(`serial=${first.serial}`), "board-one");
      assert.equal(await nameBy(`serial=${second.serial}`), "board-two");
    });

    it("has the name of the token that label, model and manufacturer choose", async () => {
      assert.equal(await nameBy("token=two"), "board-two");
      assert.equal(await nameBy("manufacturer=SoftHSM%20project;model=SoftHSM%20v2;token=two"), "board-two");
    });

    it("is refused when no token has all the attributes", async () => {
      await assert.rejects(
        nameBy(`token=one;serial=${second.serial}`),
        failure("config", "there is no such token; pkcs11-tool --list-token-slots shows"),
      );
    });

    it("is refused when both tokens have the attributes", async () => {
      await assert.rejects(nameBy("model=SoftHSM%20v2"), failure("config", "several tokens fit"));
    });

    it("is refused with the attribute's name when pkcs11-tool does not know it", async () => {
      await assert.rejects(
        nameBy("token=two;slot-id=1"),
        failure("config", "identity.pkcs11.uri: pkcs11-tool can't find the token by slot-id"),
      );
    });

    it("has a command that makes its key in that token", async () => {
      const uri = `pkcs11:serial=${second.serial};id=%02;object=board%27s%20key`;
      const command = await keygenCommand(config(uri), systemClock);
      assert.match(command, / --slot 0x[0-9a-f]+ --id 02 --label 'board'\\''s key' --login --keypairgen /);
      await output("sh", "-c", `${command} --pin 135799`);
      const list = await output("pkcs11-tool", "--module", first.module, "--token-label", "two", "-O");
      assert.match(list, /label: +board's key/);
    });
  },
);
