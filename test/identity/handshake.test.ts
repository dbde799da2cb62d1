/** Every form of key and certificate file, shown to a real TLS server that demands a client certificate. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { after, before, describe, it } from "node:test";
import { connect, createServer, type SecureVersion, type Server } from "node:tls";
import type { KeyObject } from "node:crypto";
import type { ConnectionCredentials } from "../../src/identity/identity.ts";
import { type Authority, createAuthority, type KeyKind, keyKinds } from "./authority.ts";
import { createDevice } from "./device.ts";

const PASSPHRASE = "corrêct horse";

/** RFC 5480's named curves, as `openssl ecparam -genkey` writes them in front of the key. */
const EC_PARAMETERS: Partial<Record<KeyKind, string>> = {
  "EC P-256": "BggqhkjOPQMBBw==",
  "EC P-384": "BgUrgQQAIg==",
};

/** All forms in which a key file may come. */
function keyForms(kind: KeyKind, key: KeyObject): Record<string, string | Buffer> {
  const own = EC_PARAMETERS[kind] === undefined ? ("pkcs1" as const) : ("sec1" as const);
  const encryption = { cipher: "aes-256-cbc", passphrase: PASSPHRASE };
  const ownPem = key.export({ format: "pem", type: own }).toString();
  return {
    "PKCS#8 PEM": key.export({ format: "pem", type: "pkcs8" }),
    "PKCS#8 DER": key.export({ format: "der", type: "pkcs8" }),
    "PKCS#8 PEM, encrypted": key.export({ format: "pem", type: "pkcs8", ...encryption }),
    "PKCS#8 DER, encrypted": key.export({ format: "der", type: "pkcs8", ...encryption }),
    [`${own} PEM`]: ownPem,
    [`${own} DER`]: key.export({ format: "der", type: own }),
    [`${own} PEM, encrypted the old way`]: key.export({ format: "pem", type: own, ...encryption }),
    [`${own} PEM with CRLF`]: ownPem.replaceAll("\n", "\r\n"),
    ...(own === "sec1" && {
      "SEC1 PEM after EC PARAMETERS": `-----BEGIN EC PARAMETERS-----\n${EC_PARAMETERS[kind]}\n-----END EC PARAMETERS-----\n${ownPem}`,
    }),
  };
}

describe("a hub that demands a client certificate", () => {
  let root: Authority;
  let server: Server;
  before(async () => {
    root = await createAuthority();
    const own = await root.issue({ subject: "CN=localhost", dnsName: "localhost" });
    server = createServer(
      {
        cert: own.pem,
        key: own.key.export({ format: "pem", type: "pkcs8" }),
        ca: root.pem,
        requestCert: true,
        rejectUnauthorized: true,
      },
      (socket) => socket.end(String(socket.getPeerCertificate().subject.CN)),
    );
    server.on("tlsClientError", () => undefined); // a refused device sees it at its own end
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  after(() => server.close());

  /** Connects as a device does. @returns the hub's name for the device */
  const nameAtHub = async (credentials: ConnectionCredentials, version: SecureVersion): Promise<string> => {
    const socket = connect({
      host: "127.0.0.1",
      port: (server.address() as AddressInfo).port,
      servername: "localhost",
      ca: root.pem,
      minVersion: version,
      maxVersion: version,
      ...(credentials.tls.kind === "direct" && credentials.tls),
    });
    return text(socket);
  };

  it("refuses a device that shows none", async () => {
    const none: ConnectionCredentials = { path: "/socket/websocket", tls: { kind: "none" }, headers: {} };
    await assert.rejects(nameAtHub(none, "TLSv1.3"));
  });

  for (const kind of keyKinds) {
    it(`recognizes a device by its ${kind} key, in each form of the files`, async () => {
      await using device = await createDevice();
      const issued = await root.issue({ subject: `CN=dev ${kind}`, kind });
      await device.write(device.passphraseFile, `${PASSPHRASE}\n`);
      const forms = Object.entries(keyForms(kind, issued.key));
      assert.ok(forms.length >= 8);
      for (const [form, key] of forms) {
        for (const certificate of [issued.pem, issued.der]) {
          await device.write(device.certFile, certificate);
          await device.write(device.keyFile, key);
          const passphrase = form.includes("encrypted") ? device.passphraseFile : "";
          const identity = await device.load({}, { keyPassphraseFile: passphrase });
          const credentials = await identity.connection(0);
          assert.equal(credentials.path, "/socket/websocket");
          assert.deepEqual(credentials.headers, {});
          for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
            assert.equal(await nameAtHub(credentials, version), `dev ${kind}`, `${form}, ${version}`);
          }
        }
      }
    });
  }

  it("gets the issuers that follow the certificate in its file", async () => {
    await using device = await createDevice();
    const batch = await root.subordinate("CN=Batch CA");
    const issued = await batch.issue({ subject: "CN=dev-1" });
    await device.write(device.keyFile, issued.key.export({ format: "pem", type: "pkcs8" }));
    await device.write(device.certFile, `${issued.pem}${batch.pem}`);
    const identity = await device.load();
    assert.equal(await nameAtHub(await identity.connection(0), "TLSv1.2"), "dev-1");
  });
});
