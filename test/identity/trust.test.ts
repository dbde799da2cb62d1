/** Which CA certificates the hub is verified with. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { createSecureContext, rootCertificates } from "node:tls";
import { loadDownloadTrust, loadTrust } from "../../src/identity/trust.ts";
import { testWorld } from "../platform/world.ts";
import { createAuthority } from "./authority.ts";
import { failure } from "./failure.ts";

describe("the authorities that may sign a hub's certificate", () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "hublink-trust-"));
  });
  afterEach(async () => rm(root, { recursive: true }));

  const write = async (path: string, content: string | Uint8Array): Promise<string> => {
    const full = join(root, path);
    await mkdir(dirname(full), { recursive: true });
    await writeFile(full, content);
    return full;
  };

  it("are all of the configured file, PEM or DER", async () => {
    const [one, two] = [await createAuthority("CN=One"), await createAuthority("CN=Two")];
    const path = await write("ca.pem", `A comment\n${one.pem}\n${two.pem}`);
    assert.deepEqual(await loadTrust(path, testWorld({ root })), { ca: [one.pem, two.pem], source: path });
    const der = await write("ca.der", Buffer.from(one.pem.replace(/-----.*-----/g, ""), "base64"));
    assert.deepEqual(await loadTrust(der, testWorld({ root })), { ca: [one.pem], source: der });
  });

  it("are no others when the configured file can't be used", async () => {
    await write("etc/ssl/certs/ca-certificates.crt", (await createAuthority()).pem);
    const missing = join(root, "missing.pem");
    await assert.rejects(loadTrust(missing, testWorld({ root })), failure("no-input", missing));
    const garbage = await write("garbage.pem", "hello");
    await assert.rejects(loadTrust(garbage, testWorld({ root })), failure("no-input", garbage));
  });

  it("are those of the first system store that is not empty, by default", async () => {
    const authority = await createAuthority();
    await write("etc/ssl/certs/ca-certificates.crt", "");
    const path = await write("etc/ssl/cert.pem", authority.pem);
    assert.deepEqual(await loadTrust("", testWorld({ root })), { ca: [authority.pem], source: path });
  });

  it("are for downloads those of the system and of the hub, or those of a file of their own alone", async () => {
    const [system, hub, own] = [await createAuthority(), await createAuthority(), await createAuthority()];
    const store = await write("etc/ssl/certs/ca-certificates.crt", system.pem);
    const [hubFile, ownFile] = [await write("hub.pem", hub.pem), await write("own.pem", own.pem)];
    const world = testWorld({ root });
    assert.deepEqual(await loadDownloadTrust("", hubFile, world), {
      ca: [hub.pem, system.pem],
      source: `${hubFile} and ${store}`,
    });
    assert.deepEqual(await loadDownloadTrust("", "", world), { ca: [system.pem], source: store });
    assert.deepEqual(await loadDownloadTrust(ownFile, hubFile, world), { ca: [own.pem], source: ownFile });
    const missing = join(root, "missing.pem");
    await assert.rejects(loadDownloadTrust(missing, hubFile, world), failure("no-input", missing));
  });

  it("are Node's own when the system has no store", async () => {
    const trust = await loadTrust("", testWorld({ root }));
    assert.deepEqual(trust, { ca: rootCertificates, source: "built-in" });
    createSecureContext({ ca: [...trust.ca] });
  });
});
