/** Atomic writes, and reading files that a board may lack or that may be other things. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { openRegularFile, readIfThere, syncPath, writeFileAtomic } from "../../src/platform/files.ts";
import { failure } from "../identity/failure.ts";

describe("a file that is replaced as a whole", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-atomic-"));
  });
  afterEach(async () => rm(dir, { recursive: true }));

  it("is made with its folder, readable by its owner only by default", async () => {
    const path = join(dir, "a/b/journal.json");
    await writeFileAtomic(path, "one");
    assert.equal(await readFile(path, "utf8"), "one");
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    await writeFileAtomic(path, Buffer.from([0, 255]), 0o644);
    assert.deepEqual([...(await readFile(path))], [0, 255]);
    assert.equal((await stat(path)).mode & 0o777, 0o644);
    assert.deepEqual(await readdir(join(dir, "a/b")), ["journal.json"], "nothing is left beside it");
  });

  it("is a new file: a process that has the old one open still reads that", async () => {
    const path = join(dir, "journal.json");
    await writeFileAtomic(path, "old");
    const { ino } = await stat(path);
    await writeFileAtomic(path, "new");
    assert.notEqual((await stat(path)).ino, ino);
  });

  it("replaces the half file that a power cut left beside it", async () => {
    const path = join(dir, "journal.json");
    await writeFile(`${path}.new`, "half of a longer conte");
    await writeFileAtomic(path, "whole");
    assert.equal(await readFile(path, "utf8"), "whole");
  });

  it("does not follow a link that somebody put beside it", async () => {
    const [path, victim] = [join(dir, "journal.json"), join(dir, "shadow")];
    await writeFile(victim, "root's");
    await symlink(victim, `${path}.new`);
    await writeFileAtomic(path, "whole");
    assert.equal(await readFile(victim, "utf8"), "root's");
    assert.equal(await readFile(path, "utf8"), "whole");
  });

  it("stays as it was when the new content can't be written", async () => {
    const path = join(dir, "journal.json");
    await writeFileAtomic(path, "old");
    await mkdir(`${path}.new`); // in the way
    await assert.rejects(writeFileAtomic(path, "new"), { code: "EISDIR" });
    assert.equal(await readFile(path, "utf8"), "old");
  });

  it("can be flushed with its folder; a missing file can't", async () => {
    await syncPath(dir);
    await assert.rejects(syncPath(join(dir, "missing")), { code: "ENOENT" });
  });
});

describe("a file that a board may lack", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-files-"));
  });
  afterEach(async () => rm(dir, { recursive: true }));

  it("is read as text when it exists", async () => {
    const path = join(dir, "loadavg");
    await writeFile(path, "0.1 Größe\n");
    assert.equal(await readIfThere(path), "0.1 Größe\n");
    await writeFile(path, "");
    assert.equal(await readIfThere(path), "", "an empty file is there");
  });

  it("is undefined where it is missing, or the system refuses to read it", async () => {
    await writeFile(join(dir, "file"), "");
    assert.equal(await readIfThere(join(dir, "missing")), undefined);
    assert.equal(await readIfThere(join(dir, "file/below")), undefined);
    assert.equal(await readIfThere(dir), undefined);
  });

  it(
    "is undefined where its permissions forbid reading",
    { skip: process.getuid?.() === 0 && "root reads all" },
    async () => {
      const path = join(dir, "secret");
      await writeFile(path, "secret", { mode: 0 });
      assert.equal(await readIfThere(path), undefined);
    },
  );
});

describe("a regular file that is opened", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "hublink-open-"));
  });
  afterEach(async () => rm(dir, { recursive: true }));

  it("is read, also behind a link", async () => {
    await writeFile(join(dir, "a.fw"), "bytes");
    await symlink("a.fw", join(dir, "latest.fw"));
    const file = await openRegularFile("firmware", join(dir, "latest.fw"));
    assert.equal(await file.readFile("utf8"), "bytes");
    await file.close();
  });

  it("is refused by name when it is a pipe, a device, a folder or missing, and nothing is opened", async () => {
    const pipe = join(dir, "pipe");
    execFileSync("mkfifo", [pipe]);
    for (const path of [pipe, "/dev/null", dir])
      await assert.rejects(openRegularFile("firmware", path), failure("no-input", `${path} is not a file`));
    const missing = join(dir, "missing");
    await assert.rejects(
      openRegularFile("firmware", missing),
      failure("no-input", `firmware ${missing} does not exist`),
    );
  });
});
