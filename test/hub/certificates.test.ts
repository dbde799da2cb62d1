/**
 * The certificates for tests: a wrong one must fail for its one reason only, or tests of that reason prove
 * nothing.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { writeCertificates } from "./certificates.ts";

it("the good certificates are valid, and each wrong one is wrong in one way only", async () => {
  const dir = await mkdtemp(join(tmpdir(), "hub-certificates-"));
  const nowMs = Date.UTC(2030, 0, 1);
  const files = await writeCertificates(dir, ["board-1", "board-2"], ["hub.test"], nowMs);
  const read = async ({ certFile }: { certFile: string }): Promise<X509Certificate> =>
    new X509Certificate(await readFile(certFile));
  const ca = await read({ certFile: files.caFile });
  const flaws = async (file: { certFile: string }, host?: string): Promise<string[]> => {
    const certificate = await read(file);
    return [
      ...(certificate.checkIssued(ca) && certificate.verify(ca.publicKey) ? [] : ["issuer"]),
      ...(Date.parse(certificate.validFrom) > nowMs ? ["too early"] : []),
      ...(Date.parse(certificate.validTo) < nowMs ? ["expired"] : []),
      ...(host === undefined || certificate.checkHost(host) !== undefined ? [] : ["host"]),
    ];
  };

  for (const host of ["localhost", "hub.test"]) assert.deepEqual(await flaws(files.server, host), []);
  assert.equal((await read(files.server)).checkIP("127.0.0.1"), "127.0.0.1");
  for (const [identifier, file] of files.devices) {
    assert.deepEqual(await flaws(file), []);
    assert.equal((await read(file)).subject, `CN=${identifier}`);
    assert.equal((await stat(file.keyFile)).mode & 0o777, 0o600);
  }
  const { unknownCa, expired, notYetValid, otherHost } = files.wrong;
  for (const kind of ["server", "device"] as const) {
    const host = kind === "server" ? "localhost" : undefined;
    assert.deepEqual(await flaws(unknownCa[kind], host), ["issuer"]);
    assert.deepEqual(await flaws(expired[kind], host), ["expired"]);
    assert.deepEqual(await flaws(notYetValid[kind], host), ["too early"]);
  }
  assert.deepEqual(await flaws(otherHost.server, "localhost"), ["host"]);
  await rm(dir, { recursive: true });
});
