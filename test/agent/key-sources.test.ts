/** Each place for the board's key: the real agent joins a hub that demands a client certificate. */
import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { generateKey } from "../../src/identity/provision.ts";
import { signingKey } from "../../src/identity/signing.ts";
import { tpm2Source } from "../../src/identity/tpm2-source.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { certify, missing } from "../identity/openssl.ts";
import { createSoftToken, type SoftToken, tokenMissing } from "../identity/soft-token.ts";
import { startSoftTpm, tpmForTlsMissing } from "../identity/soft-tpm.ts";
import { IDENTIFIER, setUpBoard, type TestBoard } from "./board.ts";

describe("a board joins its hub with its key", () => {
  let board: TestBoard;
  let certFile: string;
  let keyFile: string;
  before(async () => {
    board = await setUpBoard();
    const device = board.certificates.devices.get(IDENTIFIER);
    certFile = device?.certFile ?? "";
    keyFile = device?.keyFile ?? "";
  });
  after(async () => board.remove());

  const joins = async (identity: Readonly<Record<string, unknown>>): Promise<void> => {
    await board.restart({ identity: { identifier: "", ...identity } });
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    const joined = board.hub.device(IDENTIFIER).joins.length;
    board.hub.disconnect(IDENTIFIER);
    await board.hub.until(
      () => board.hub.device(IDENTIFIER).joins.length > joined && board.hub.device(IDENTIFIER).online,
    );
    await board.restart({ hub: { url: "ws://127.0.0.1:9" } }); // the board leaves the hub, so that the next join shows
    await board.hub.until(() => !board.hub.device(IDENTIFIER).online);
  };

  it("in variables of the environment, which children do not inherit", async () => {
    process.env["TEST_DEVICE_CERT"] = await readFile(certFile, "utf8");
    process.env["TEST_DEVICE_KEY"] = (await readFile(keyFile)).toString("base64");
    await joins({ source: "env", env: { cert: "TEST_DEVICE_CERT", key: "TEST_DEVICE_KEY" } });
    assert.equal(process.env["TEST_DEVICE_KEY"], undefined);
    await joins({ source: "env", env: { cert: "TEST_DEVICE_CERT", key: "TEST_DEVICE_KEY" } }); // as after SIGHUP
  });

  it("in the U-Boot environment", async () => {
    await board.setEnvironment({
      nerves_hub_cert: (await readFile(certFile, "utf8")).replaceAll("\n", " "),
      nerves_hub_key: (await readFile(keyFile)).toString("base64"),
    });
    await joins({ source: "uboot-env" });
  });

  it("in a Raspberry Pi's OTP memory", { skip: missing("openssl") }, async () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const folder = join(board.root, "sys/bus/nvmem/devices/nvmem_priv0");
    await mkdir(folder, { recursive: true });
    // The rows of the memory are 32-bit numbers, read by a little-endian processor.
    const rows = Buffer.from(privateKey.export({ format: "jwk" }).d ?? "", "base64url").swap32();
    await writeFile(join(folder, "nvmem"), Buffer.concat([rows, Buffer.alloc(32)]));
    const own = join(board.dir, "otp.pem");
    await certify(createPublicKey(privateKey), IDENTIFIER, board.certificates.caFile, own);
    await joins({ source: "rpi-otp", rpi_otp: { cert_file: own } });
  });

  it("in files, with a helper that does TLS", { skip: missing("stunnel") }, async () => {
    await joins({ tls: "helper", file: { cert_file: certFile, key_file: keyFile } });
  });

  it("that only a TPM 2.0 can use", { skip: tpmForTlsMissing }, async () => {
    const tpm = await startSoftTpm(board.dir);
    try {
      const [keyFile, own] = [join(board.dir, "tpm.pem"), join(board.dir, "tpm-cert.pem")];
      const tpm2 = { key: keyFile, cert_file: own, tcti: tpm.tcti };
      const { identity } = board.config({ identity: { source: "tpm2", tpm2 } });
      await generateKey(identity, systemClock);
      const key = await tpm2Source({ ...tpm2, certFile: own }).key();
      assert.ok(key.kind === "tpm2");
      await certify(
        await signingKey(key, systemClock).publicKey(),
        IDENTIFIER,
        board.certificates.caFile,
        own,
      );
      await joins({ source: "tpm2", tpm2 });
    } finally {
      await tpm.stop();
    }
  });

  for (const type of ["EC:prime256v1", "rsa:2048"]) {
    describe(`in a PKCS#11 token, ${type}`, { skip: tokenMissing }, () => {
      let token: SoftToken;
      let own: string;
      beforeEach(async () => {
        const folder = join(board.dir, `token-${type}-${Math.random()}`);
        token = await createSoftToken(folder, type);
        own = join(folder, "cert.pem");
        await certify(token.publicKey, IDENTIFIER, board.certificates.caFile, own);
      });
      const pkcs11 = (cert_file: string) => ({
        module: token.module,
        uri: token.uri,
        pin_file: token.pinFile,
        cert_file,
      });

      it("with its certificate in a file", async () => {
        await joins({ source: "pkcs11", pkcs11: pkcs11(own) });
      });

      // The token's library, once loaded into this process, knows only the first token.
      const skip =
        type.startsWith("EC") && existsSync("/usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so")
          ? false
          : "needs libp11's engine, and a process of its own";
      it("with OpenSSL's engine in the agent itself", { skip }, async () => {
        await joins({ source: "pkcs11", tls: "engine", pkcs11: pkcs11(own) });
      });

      it("with its certificate in the token, too", async () => {
        await token.store(own);
        await joins({ source: "pkcs11", pkcs11: pkcs11("") });
      });
    });
  }
});
