/** The sources of the device's name, and the names that are refused. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { resolveIdentifier } from "../../src/identity/identifier.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";
import { failure } from "./failure.ts";

describe("the identifier", () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "hublink-identifier-"));
    await mkdir(join(folder, "etc"));
    await writeFile(join(folder, "etc/machine-id"), "serial-1\n");
  });
  after(async () => rm(folder, { recursive: true }));

  const clock = new FakeClock();
  const resolve = async (setting: string, commonName?: string): Promise<string> =>
    resolveIdentifier(setting, testWorld({ clock, root: folder }), commonName);

  it("is the configured text before all others", async () => {
    assert.equal(await resolve("dev-1", "cn-1"), "dev-1");
  });

  it("is the certificate's common name by default, else the board's serial number", async () => {
    assert.equal(await resolve("", "cn-1"), "cn-1");
    assert.equal(await resolve(""), "serial-1");
  });

  it("is read from a file, without blanks around it", async () => {
    const path = join(folder, "name");
    await writeFile(path, " dev-2\n");
    assert.equal(await resolve(`file:${path}`), "dev-2");
  });

  it("is the first line that a command prints", async () => {
    assert.equal(await resolve("command:printf 'dev-3\\nmore\\n'"), "dev-3");
    assert.equal(clock.pending, 0);
  });

  it("is refused when nothing names the board", async () => {
    const nameless = resolveIdentifier("", testWorld({ clock, root: join(folder, "missing") }));
    await assert.rejects(nameless, failure("config", "set identity.identifier"));
  });

  it("is refused when its file is missing or its command fails", async () => {
    const path = join(folder, "missing");
    await assert.rejects(resolve(`file:${path}`), failure("no-input", `identifier ${path} does not exist`));
    await assert.rejects(resolve("command:exit 3"), failure("config", "identity.identifier", "ended with 3"));
  });

  it("is refused when its command does not end", async () => {
    const endless = assert.rejects(
      resolve("command:sleep 1000"),
      failure("config", "command sleep 1000 took longer than 10 s"),
    );
    await clock.advance(10_000);
    await endless;
  });

  it("is refused when the hub can't accept it as a name", async () => {
    await assert.rejects(resolve("  "), failure("config", "identity.identifier is empty"));
    await assert.rejects(resolve("command:true"), failure("config", "command:true is empty"));
    await assert.rejects(resolve("a\nb"), failure("config", "control characters"));
    await assert.rejects(resolve("", "a\u0000b"), failure("config", "common name", "control characters"));
    assert.equal(await resolve("é".repeat(127)), "é".repeat(127));
    await assert.rejects(resolve("é".repeat(128)), failure("config", "has 256 bytes, more than 255"));
  });
});
