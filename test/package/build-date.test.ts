/** The date in the binaries: two builds of one commit have the same date. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { buildDateS } from "../../scripts/build-date.ts";

const ROOT = join(import.meta.dirname, "../..");
const COMMITTED_S = 1_750_000_000;

describe("the build date", () => {
  let folder: string;
  let repository: string;
  const git = (...args: string[]): Buffer =>
    execFileSync("git", args, {
      cwd: repository,
      env: {
        ...process.env,
        ...{ GIT_AUTHOR_NAME: "t", GIT_AUTHOR_EMAIL: "t@t", GIT_COMMITTER_NAME: "t" },
        ...{ GIT_COMMITTER_EMAIL: "t@t", GIT_COMMITTER_DATE: `@${COMMITTED_S} +0200` },
      },
      stdio: ["ignore", "pipe", "ignore"],
    });
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "hublink-date-"));
    repository = join(folder, "repository");
    await mkdir(join(repository, "scripts"), { recursive: true });
    for (const name of [".gitattributes", "scripts/commit-date"])
      await cp(join(ROOT, name), join(repository, name));
    git("init");
    git("add", ".");
    git("commit", "-m", "all");
  });
  after(async () => rm(folder, { recursive: true }));

  it("is the commit's date, in every checkout", async () => {
    const copy = join(folder, "copy");
    execFileSync("git", ["clone", "-q", repository, copy]);
    await writeFile(join(copy, "more"), "changed later");
    assert.equal(buildDateS(repository, {}), COMMITTED_S);
    assert.equal(buildDateS(copy, {}), COMMITTED_S);
  });

  it("is the commit's date in an archive made by git", async () => {
    const unpacked = join(folder, "unpacked");
    await mkdir(unpacked);
    execFileSync("tar", ["x", "-C", unpacked], { input: git("archive", "HEAD") });
    assert.equal(buildDateS(unpacked, {}), COMMITTED_S);
  });

  it("is SOURCE_DATE_EPOCH if that is set", () => {
    assert.equal(buildDateS(repository, { SOURCE_DATE_EPOCH: "1234567890" }), 1_234_567_890);
    assert.equal(buildDateS(repository, { SOURCE_DATE_EPOCH: "yesterday" }), COMMITTED_S);
  });

  it("is unknown in a copy without history, even inside another repository", async () => {
    const inside = join(repository, "copied/scripts");
    await mkdir(inside, { recursive: true });
    await cp(join(ROOT, "scripts/commit-date"), join(inside, "commit-date"));
    assert.equal(buildDateS(join(repository, "copied"), {}), 0);
  });
});
