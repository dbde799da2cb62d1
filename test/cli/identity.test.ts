/** The way of a new board to its hub: `hublink identity` makes a key, and an authority signs its request. */
import assert from "node:assert/strict";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setUpBoard, type TestBoard } from "../agent/board.ts";
import { certify, missing, output } from "../identity/openssl.ts";
import { startSoftTpm, tpmMissing, type SoftTpm } from "../identity/soft-tpm.ts";
import { createSoftToken, tokenMissing, type SoftToken } from "../identity/soft-token.ts";
import { hublink, type Ended } from "./program.ts";

const SPY = "/usr/lib/x86_64-linux-gnu/pkcs11/pkcs11-spy.so";

let board: TestBoard;
before(async () => {
  board = await setUpBoard();
});
after(async () => board.remove());

/** The output of openssl for a request with a valid signature. */
async function verified(request: string): Promise<string> {
  const file = join(board.dir, "request.pem");
  await writeFile(file, request);
  return await output("openssl", "req", "-in", file, "-verify", "-noout", "-subject");
}

describe("a board without a certificate", { skip: missing("openssl") }, () => {
  let config: string;
  let keyFile: string;
  before(async () => {
    keyFile = join(board.dir, "new/key.pem");
    const file = { cert_file: join(board.dir, "new/cert.pem"), key_file: keyFile };
    config = await board.writeConfig({ identity: { identifier: "board-1", file } });
  });
  const identity = async (...options: readonly string[]): Promise<Ended> =>
    hublink(["identity", ...options, "--config", config]);

  it("is told its identifier, and how to come by a key and a certificate, with 66", async () => {
    const { code, stdout, stderr } = await identity();
    assert.equal(code, 66);
    assert.equal(stdout, "identifier  board-1\n");
    assert.match(
      stderr,
      /^hublink: certificate .*cert\.pem does not exist; hublink identity --csr requests one, after --generate has made the key\n$/,
    );
    const json = await identity("--json");
    assert.equal(json.code, 66);
    const { problem, ...rest } = JSON.parse(json.stdout) as { problem: { failure: string } };
    assert.deepEqual(rest, { identifier: "board-1", source: null, certificate: null, warnings: [] });
    assert.equal(problem.failure, "key_missing");
    const noKey = await identity("--csr");
    assert.equal(noKey.code, 66);
    assert.match(noKey.stderr, /key\.pem does not exist; hublink identity --generate makes one\n$/);
  });

  it("makes its key, readable only by its owner", async () => {
    const { code, stdout } = await identity("--generate");
    assert.equal(code, 0);
    assert.equal(stdout, `made key ${keyFile}\n`);
    assert.equal((await stat(keyFile)).mode & 0o777, 0o600);
    assert.equal(createPrivateKey(await readFile(keyFile)).asymmetricKeyDetails?.namedCurve, "prime256v1");
  });

  it("makes folders that others can't write to, also with umask 0", async () => {
    const made = join(board.dir, "made/key.pem");
    const env = { HUBLINK_IDENTITY__FILE__KEY_FILE: made };
    const within = ["sh", "-c", 'umask 0; exec "$@"', "sh"];
    const { code } = await hublink(["identity", "--generate", "--config", config], { env, within });
    assert.equal(code, 0);
    assert.equal((await stat(dirname(made))).mode & 0o777, 0o755);
  });

  it("does not replace a key", async () => {
    const before = await readFile(keyFile);
    const { code, stderr } = await identity("--generate");
    assert.equal(code, 78);
    assert.match(stderr, /key .*key\.pem is there already; it is not replaced\n$/);
    assert.deepEqual(await readFile(keyFile), before);
  });

  it("requests a certificate for its own identifier", async () => {
    const { code, stdout } = await identity("--csr");
    assert.equal(code, 0);
    assert.match(await verified(stdout), /subject=CN ?= ?board-1/);
  });

  it("has its certificate's facts as JSON, under keys that stay", async () => {
    const { certFile, keyFile: key } = board.certificates.devices.get("board-1") ?? {};
    const env = {
      HUBLINK_IDENTITY__FILE__CERT_FILE: certFile ?? "",
      HUBLINK_IDENTITY__FILE__KEY_FILE: key ?? "",
    };
    const { code, stdout } = await hublink(["identity", "--json", "--config", config], { env });
    assert.equal(code, 0);
    const value = JSON.parse(stdout) as { certificate: Record<string, string> };
    assert.deepEqual(Object.keys(value), ["identifier", "source", "certificate", "warnings", "problem"]);
    const keys = ["subject", "issuer", "not_before", "not_after", "sha256", "sha1"];
    assert.deepEqual(Object.keys(value.certificate), keys);
    assert.match(value.certificate["not_after"] ?? "", /^\d{4}-\d\d-\d\dT.*Z$/);
    assert.match(value.certificate["sha256"] ?? "", /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
  });

  it("joins with the certificate that is issued for the request", async () => {
    await certify(
      createPublicKey(await readFile(keyFile)),
      "board-1",
      board.certificates.caFile,
      keyFile.replace("key", "cert"),
    );
    const { code, stdout } = await hublink(["check", "--connect", "--config", config]);
    assert.match(stdout, /^ok {3}connection {5}localhost:\d+ takes this board$/m);
    assert.equal(code, 0);
  });
});

for (const type of ["EC:prime256v1", "rsa:2048"]) {
  describe(`a key in a PKCS#11 token, ${type},`, { skip: tokenMissing }, () => {
    let token: SoftToken;
    let config: string;
    let settings: Readonly<Record<string, string>>;
    before(async () => {
      const folder = join(board.dir, `token-${type}`);
      token = await createSoftToken(folder, type);
      const own = join(folder, "cert.pem");
      await certify(token.publicKey, "board-1", board.certificates.caFile, own);
      settings = { module: token.module, uri: token.uri, pin_file: token.pinFile, cert_file: own };
      config = await board.writeConfig({ identity: { source: "pkcs11", pkcs11: settings } });
    });
    const run = async (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> =>
      hublink([...args, "--config", config], { env });

    it("signs a request for its certificate", async () => {
      const { code, stdout, stderr } = await run(["identity", "--csr"]);
      assert.equal(stderr, "");
      assert.equal(code, 0);
      assert.match(await verified(stdout), /subject=CN ?= ?board-1/);
    });

    it("is checked up to the hub, in one screen", async () => {
      const { code, stdout } = await run(["check", "--connect"]);
      assert.match(stdout, /^ok {3}identity {7}board-1, pkcs11:token=agent;id=%01;type=private$/m);
      assert.match(stdout, /^ok {3}key {12}signs, and belongs to the certificate$/m);
      assert.match(stdout, /^ok {3}TLS {12}by stunnel \d/m);
      assert.match(stdout, /^ok {3}sha-1 {10}([0-9A-F]{2}:){19}[0-9A-F]{2}$/m);
      assert.match(stdout, /^ok {3}connection {5}localhost:\d+ takes this board$/m);
      assert.equal(code, 0);
      // Other users than root get lines about what they may do, which has nothing to do with the key.
      const lines = stdout
        .trimEnd()
        .split("\n")
        .filter((line) => !/^(ok|warn) +user /.test(line));
      assert.ok(lines.length <= 24, stdout);
    });

    const fails = (
      what: string,
      env: () => Promise<Readonly<Record<string, string>>>,
      expected: RegExp,
    ): void => {
      it(`is refused when ${what}`, async () => {
        const { code, stdout, stderr } = await run(["check"], await env());
        assert.match(stdout.replace(/\s+/g, " "), expected);
        assert.equal(code, 78);
        assert.ok(!`${stdout}${stderr}`.includes(token.pin));
      });
    };
    fails(
      "the library is none",
      async () => Promise.resolve({ HUBLINK_IDENTITY__PKCS11__MODULE: "/missing.so" }),
      /FAIL identity pkcs11:token=agent;id=%01;type=private: the library \/missing\.so can't be loaded/,
    );
    fails(
      "the token is another one",
      async () => Promise.resolve({ HUBLINK_IDENTITY__PKCS11__URI: "pkcs11:token=other;id=%01" }),
      /FAIL identity pkcs11:token=other;id=%01: there is no such token/,
    );
    fails(
      "the key is another one",
      async () => Promise.resolve({ HUBLINK_IDENTITY__PKCS11__URI: "pkcs11:token=agent;id=%02" }),
      /FAIL identity pkcs11:token=agent;id=%02: the token holds no such key/,
    );
    fails(
      "the certificate is another one's",
      async () =>
        Promise.resolve({
          HUBLINK_IDENTITY__PKCS11__CERT_FILE: board.certificates.devices.get("board-1")?.certFile ?? "",
        }),
      /FAIL identity pkcs11:token=agent;id=%01;type=private does not belong to the \(first\) certificate/,
    );
    fails(
      "the PIN is wrong",
      async () => {
        const file = join(board.dir, "wrong-pin");
        await writeFile(file, "86420\n", { mode: 0o600 });
        return { HUBLINK_IDENTITY__PKCS11__PIN_FILE: file };
      },
      /FAIL identity pkcs11:token=agent;id=%01;type=private: the token refused the PIN in .*wrong-pin;/,
    );

    it("tries a wrong PIN only once", async () => {
      const [file, log] = [join(board.dir, "wrong-pin"), join(board.dir, `spy-${type}`)];
      await writeFile(file, "86420\n", { mode: 0o600 });
      const { stdout } = await run(["check", "--connect"], {
        HUBLINK_IDENTITY__PKCS11__PIN_FILE: file,
        HUBLINK_IDENTITY__PKCS11__MODULE: SPY,
        PKCS11SPY: token.module,
        PKCS11SPY_OUTPUT: log,
      });
      assert.equal((await readFile(log, "utf8")).match(/C_Login$/gm)?.length, 1);
      assert.doesNotMatch(stdout, /86420/);
    });
  });
}

describe("a key that only a TPM 2.0 can use", { skip: tpmMissing }, () => {
  let tpm: SoftTpm;
  let config: string;
  before(async () => {
    tpm = await startSoftTpm(board.dir);
    const tpm2 = {
      key: join(board.dir, "tpm.pem"),
      cert_file: join(board.dir, "tpm-cert.pem"),
      tcti: tpm.tcti,
    };
    config = await board.writeConfig({ identity: { source: "tpm2", identifier: "board-1", tpm2 } });
  });
  after(async () => tpm.stop());

  it("is made by the TPM, and signs a request for its certificate", async () => {
    const made = await hublink(["identity", "--generate", "--csr", "--config", config]);
    assert.equal(made.code, 0);
    assert.match(made.stderr, /^made TPM 2\.0 key .*tpm\.pem$/m);
    assert.match(await readFile(join(board.dir, "tpm.pem"), "utf8"), /BEGIN TSS2 PRIVATE KEY/);
    assert.match(await verified(made.stdout), /subject=CN ?= ?board-1/);
  });

  it("is useless with another TPM", async () => {
    const other = await startSoftTpm(join(board.dir, "other"));
    try {
      const env = { HUBLINK_IDENTITY__TPM2__TCTI: other.tcti };
      const { code, stderr } = await hublink(["identity", "--csr", "--config", config], { env });
      assert.equal(code, 78);
      assert.match(stderr, /TPM 2\.0 key .*tpm\.pem: the TPM does not answer or does not take it/);
    } finally {
      await other.stop();
    }
  });
});
