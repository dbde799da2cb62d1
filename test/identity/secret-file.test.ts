import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { readSecretFile } from "../../src/identity/secret-file.ts";
import { Failure } from "../../src/platform/failure.ts";
import type { FailureKind } from "../../src/platform/failures.ts";

describe("a secret file", () => {
  let folder: string;
  let path: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "hublink-secret-"));
    path = join(folder, "secret");
  });
  after(async () => rm(folder, { recursive: true }));

  const write = async (content: string, mode = 0o600): Promise<void> => {
    await writeFile(path, content);
    await chmod(path, mode);
  };
  const refusal = (kind: FailureKind, words: RegExp) => (error: unknown) => {
    assert.ok(error instanceof Failure, String(error));
    assert.equal(error.kind, kind);
    assert.match(error.message, words);
    return true;
  };

  it("gives its content without the one newline that editors add", async () => {
    for (const [content, secret] of [
      ["s3cret\n", "s3cret"],
      ["s3cret\r\n", "s3cret"],
      ["s3cret", "s3cret"],
      ["s3cret\n\n", "s3cret\n"],
      [" s3 cret \n", " s3 cret "],
      ["", ""],
    ] as const) {
      await write(content);
      assert.equal(await readSecretFile(path), secret);
    }
  });

  it("may be read-only", async () => {
    await write("s3cret\n", 0o400);
    assert.equal(await readSecretFile(path), "s3cret");
  });

  for (const mode of [0o640, 0o620, 0o604, 0o602, 0o610, 0o666]) {
    it(`is refused with mode ${mode.toString(8)}, and says how to close it`, async () => {
      await write("s3cret\n", mode);
      await assert.rejects(readSecretFile(path), (error: unknown) => {
        assert.doesNotMatch(String(error), /s3cret/);
        return refusal("config", new RegExp(`chmod 600 ${path}$`))(error);
      });
    });
  }

  it("that is missing is a missing input, named by what it is", async () => {
    await assert.rejects(
      readSecretFile(join(folder, "absent"), "passphrase file"),
      refusal("no-input", /^passphrase file .*absent does not exist$/),
    );
  });

  it("is a file, not a folder", async () => {
    await assert.rejects(readSecretFile(folder), refusal("no-input", /not a regular file$/));
  });

  it("is not waited for when it is a pipe that nobody writes to", async () => {
    const pipe = join(folder, "pipe");
    execFileSync("/usr/bin/mkfifo", [pipe]);
    await assert.rejects(readSecretFile(pipe), refusal("no-input", /not a regular file$/));
  });
});
