/** Files that the hub's users send to the board: complete or not there, inside their folder, and limited. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { ReceivedFiles } from "../../src/remote/files-received.ts";
import type { Account } from "../../src/remote/account.ts";
import { eventually } from "../eventually.ts";
import { FakeClock } from "../platform/fake-clock.ts";

describe("files that are sent to the board", () => {
  let root: string;
  let dir: string;
  let clock: FakeClock;
  let notices: string[];
  let files: ReceivedFiles;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "hublink-files-"));
    dir = join(root, "uploads");
    clock = new FakeClock();
    notices = [];
    files = receiver();
  });
  afterEach(async () => {
    files.abort("the test is over");
    await files.settled();
    await rm(root, { recursive: true });
  });
  const receiver = (options: { maxBytes?: number; at?: string; owner?: Account } = {}): ReceivedFiles => {
    const received = new ReceivedFiles({
      dir: options.at ?? dir,
      maxBytes: options.maxBytes ?? 1024,
      owner: () => options.owner,
      clock,
    });
    received.on("notice", (text) => notices.push(text));
    return received;
  };
  const send = async (name: string, ...pieces: readonly string[]): Promise<void> => {
    files.begin(name);
    pieces.forEach((piece, number) => files.add(name, number, Buffer.from(piece)));
    files.complete(name);
    await files.settled();
  };
  const left = async (at = dir): Promise<string[]> => (existsSync(at) ? readdir(at) : []);

  it("are in the folder only when they are complete", async () => {
    files.begin("a.txt");
    files.add("a.txt", 0, Buffer.from("hello "));
    files.add("a.txt", 1, Buffer.from("world"));
    assert.equal(existsSync(join(dir, "a.txt")), false);
    files.complete("a.txt");
    await files.settled();
    assert.equal(await readFile(join(dir, "a.txt"), "utf8"), "hello world");
    assert.deepEqual(notices, [`received a.txt, 11 bytes, in ${dir}`]);
    assert.deepEqual(await left(), ["a.txt"]);
    assert.equal(clock.pending, 0);
  });

  it("may be empty, hidden, and have spaces in their names", async () => {
    await send("empty");
    await send(".profile", "x");
    await send("über uns.txt", "y");
    assert.deepEqual((await left()).sort(), [".profile", "empty", "über uns.txt"]);
  });

  it("replace a file of the same name, and a link instead of its target", async () => {
    await send("a", "old");
    await send("a", "new");
    assert.equal(await readFile(join(dir, "a"), "utf8"), "new");
    await writeFile(join(root, "passwd"), "root");
    await symlink(join(root, "passwd"), join(dir, "link"));
    await send("link", "evil");
    assert.equal(await readFile(join(root, "passwd"), "utf8"), "root");
    assert.equal(await readFile(join(dir, "link"), "utf8"), "evil");
  });

  it("may restart their numbers at 0, as the hub's page does for each block", async () => {
    files.begin("big");
    for (const number of [0, 1, 2, 0, 1, 0]) files.add("big", number, Buffer.from(String(number)));
    files.complete("big");
    await files.settled();
    assert.equal(await readFile(join(dir, "big"), "utf8"), "012010");
  });

  for (const name of [
    "../evil",
    "/etc/passwd",
    "a/b",
    "..",
    ".",
    "",
    "a\0b",
    "a\nb",
    "\u009b2J",
    "..\\evil",
    "x".repeat(256),
    ".hublink-part-0",
  ]) {
    it(`never leave the folder: ${JSON.stringify(name.slice(0, 20))} is refused`, async () => {
      await send(name, "evil");
      assert.deepEqual(await left(), []);
      assert.deepEqual(await left(root), []);
      assert.equal(notices.length, 1);
      assert.match(notices[0] ?? "", /is not received: its name is/);
      assert.doesNotMatch(
        notices[0] ?? "",
        /[\u0000-\u001f]/,
        "the notice is shown on a terminal, so it holds no control characters",
      );
    });
  }

  it("are dropped when a piece is missing", async () => {
    files.begin("a");
    files.add("a", 0, Buffer.from("x"));
    files.add("a", 2, Buffer.from("z"));
    files.complete("a");
    await files.settled();
    assert.deepEqual(notices, ["a is not received: piece 2 came after 0; send it again"]);
    assert.deepEqual(await left(), []);
  });

  it("are dropped when they are too large", async () => {
    await send("a", ...Array.from({ length: 40 }, () => "x".repeat(100)));
    assert.deepEqual(notices, [
      "a is not received: it is larger than console.max_upload_mib allows (1024 bytes)",
    ]);
    assert.deepEqual(await left(), []);
  });

  it("are dropped when the connection is lost, and when the rest never comes", async () => {
    for (const name of ["a", "b"]) {
      files.begin(name);
      files.add(name, 0, Buffer.from("x"));
    }
    files.abort("the connection to the hub was lost");
    await files.settled();
    files.begin("c");
    files.add("c", 0, Buffer.from("x"));
    await clock.advance(60_000);
    await files.settled();
    assert.equal(notices.length, 3);
    assert.match(notices[2] ?? "", /c is not received: the rest of it never came/);
    assert.deepEqual(await left(), []);
    assert.equal(clock.pending, 0);
  });

  it("are dropped when they are sent again, and the second one is received", async () => {
    files.begin("a");
    files.add("a", 0, Buffer.from("old"));
    await send("a", "new");
    assert.equal(await readFile(join(dir, "a"), "utf8"), "new");
    assert.deepEqual(await left(), ["a"]);
  });

  it("are refused beyond four at a time", async () => {
    for (let n = 1; n <= 1000; n += 1) files.begin(`file-${n}`);
    assert.equal(notices.length, 996);
    assert.match(notices[0] ?? "", /file-5 is not received: too many at once/);
    files.abort("enough");
    await files.settled();
    assert.deepEqual(await left(), []);
  });

  it("are ignored when they have no beginning", async () => {
    files.add("a", 0, Buffer.from("x"));
    files.complete("a");
    await files.settled();
    assert.deepEqual(await left(), []);
  });

  it(
    "belong to the console's user",
    { skip: process.getuid?.() !== 0 && "only root can give files away" },
    async () => {
      files = receiver({ owner: { name: "nobody", uid: 65_534, gid: 65_534 } });
      await send("a", "x");
      const { uid, gid, mode } = await stat(join(dir, "a"));
      assert.deepEqual([uid, gid, mode & 0o777], [65_534, 65_534, 0o600]);
    },
  );

  describe("into a folder of the console's user", { skip: process.getuid?.() !== 0 && "needs root" }, () => {
    const owner = { name: "nobody", uid: 65_534, gid: 65_534 };

    it("change the owner of the file itself, not of what a link in its place leads to", async () => {
      files = receiver({ owner });
      const victim = join(root, "shadow");
      await writeFile(victim, "root's");
      files.begin("a");
      files.add("a", 0, Buffer.from("x"));
      await eventually(async () => (await left()).length > 0, "the unfinished file");
      const [part = ""] = await left();
      await rm(join(dir, part));
      await symlink(victim, join(dir, part));
      files.complete("a");
      await files.settled();
      assert.equal((await stat(victim)).uid, 0);
    });

    it("are refused when a link leads to another folder, made or missing", async () => {
      const elsewhere = join(root, "etc");
      await mkdir(elsewhere);
      await symlink(elsewhere, join(root, "link"));
      for (const at of [join(root, "link"), join(root, "link/made")]) {
        files = receiver({ at, owner });
        await send("a", "x");
        assert.match(notices.pop() ?? "", /by a symbolic link, which console\.user does not allow/);
        assert.deepEqual(await left(elsewhere), []);
      }
      await send("a", "x");
      files = receiver({ at: join(root, "link") });
      await send("a", "x");
      assert.deepEqual(
        await left(elsewhere),
        ["a"],
        "without console.user a link of the owner's is followed",
      );
    });
  });

  it("are removed when a power cut has left them unfinished", async () => {
    await mkdir(dir);
    await writeFile(join(dir, ".hublink-part-0123"), "half");
    await writeFile(join(dir, "kept"), "whole");
    await send("a", "x");
    assert.deepEqual((await left()).sort(), ["a", "kept"]);
  });

  it("are refused with the reason when their folder can't be made", async () => {
    await writeFile(join(root, "file"), "");
    files = receiver({ at: join(root, "file/uploads") });
    await send("a", "x");
    assert.match(notices.join(), /^a is not received: ENOTDIR/);
  });

  it(
    "are dropped when the disk is full, and leave nothing there",
    { skip: !canMount() && "only root can mount a small file system" },
    async () => {
      await mkdir(dir);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", dir]);
      try {
        files = receiver({ maxBytes: 1024 * 1024 });
        await send("a", "x".repeat(200_000), "y");
        assert.deepEqual(notices, [`a is not received: no space is left in ${dir}`]);
        assert.deepEqual(await left(), []);
        await send("b", "fits");
        assert.deepEqual(await left(), ["b"]);
      } finally {
        execFileSync("umount", [dir]);
      }
    },
  );
});

function canMount(): boolean {
  try {
    execFileSync("unshare", ["--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
