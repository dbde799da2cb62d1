/** Secrets are read only from files that nobody but their owner can open. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { readSecretFile } from "../../src/identity/files.ts";
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
    await rm(path, { force: true }); // only root could write a read-only one again
    await writeFile(path, content);
    await chmod(path, mode);
  };
  const refusal = (kind: FailureKind, words: RegExp) => (error: unknown) => {
    assert.ok(error instanceof Failure, String(error));
    assert.equal(error.kind, kind);
    assert.match(error.message, words);
    return true;
  };

  it("is read without the one newline that editors add", async () => {
    for (const [content, secret] of [
      ["s3cret\n", "s3cret"],
      ["s3cret\r\n", "s3cret"],
      ["s3cret", "s3cret"],
      ["s3cret\n\n", "s3cret\n"],
      [" s3 cret \n", " s3 cret "],
      ["", ""],
    ] as const) {
      await write(content);
      assert.equal(await readSecretFile("secret file", path), secret);
    }
  });

  it("may be read-only", async () => {
    await write("s3cret\n", 0o400);
    assert.equal(await readSecretFile("secret file", path), "s3cret");
  });

  // Each of the six bits by itself, and all of them.
  for (const mode of [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o677]) {
    it(`is refused with mode ${mode.toString(8)}, and the message says how to close it`, async () => {
      await write("s3cret\n", mode);
      await assert.rejects(readSecretFile("secret file", path), (error: unknown) => {
        assert.doesNotMatch(String(error), /s3cret/);
        return refusal("config", new RegExp(`chmod 600 ${path}$`))(error);
      });
    });
  }

  const skip = process.getuid?.() === 0 ? false : "only root can give a file away";
  it("is refused when it belongs to another user, who could read and replace it", { skip }, async () => {
    await write("s3cret\n");
    await chown(path, 4321, 4321);
    await assert.rejects(
      readSecretFile("secret file", path),
      refusal(
        "config",
        /secret belongs to another user \(uid 4321\); chown 0 .*, or run hublink as that user$/,
      ),
    );
    await chmod(folder, 0o711);
    process.seteuid?.(4321);
    try {
      assert.equal(await readSecretFile("secret file", path), "s3cret");
    } finally {
      process.seteuid?.(0);
    }
  });

  it("is refused as a missing input when it does not exist", async () => {
    await assert.rejects(
      readSecretFile("passphrase file", join(folder, "absent")),
      refusal("no-input", /^passphrase file .*absent does not exist$/),
    );
  });

  it("is refused when it is a folder", async () => {
    await assert.rejects(readSecretFile("secret file", folder), refusal("no-input", /not a regular file$/));
  });

  it("is refused without a wait when it is a pipe without a writer", async () => {
    const pipe = join(folder, "pipe");
    execFileSync("/usr/bin/mkfifo", [pipe]);
    await assert.rejects(readSecretFile("secret file", pipe), refusal("no-input", /not a regular file$/));
  });
});
