/** `hublink apply`, by itself and through the daemon. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { generateSigningKey } from "../fwup/archive.ts";
import { setUpBoard, type TestBoard } from "../agent/board.ts";
import { end, hublink, start, startDaemon, type Program } from "./program.ts";

describe("hublink apply without a daemon", () => {
  let board: TestBoard;
  let config: string;
  let program: Program | undefined;
  beforeEach(async () => {
    program = undefined;
    board = await setUpBoard();
    config = await board.writeConfig({ firmware: { public_keys: [board.signingKey.publicKeyBase64] } });
  });
  afterEach(async () => {
    await end(program);
    await board.remove();
  });

  it("installs a file in the other slot, without a bar on a pipe", async () => {
    const v2 = await board.firmware("2.0.0");
    const { code, stdout, stderr } = await hublink(["apply", v2.path, "--config", config]);
    assert.equal(stderr, "");
    assert.equal(stdout, `installed 2.0.0 (${v2.uuid}); hublink reboot starts it\n`);
    assert.equal(code, 0);
    const environment = await board.environment();
    assert.equal(environment.get("nerves_fw_active"), "b");
    assert.equal(environment.get("b.nerves_fw_uuid"), v2.uuid);
  });

  it("does not overwrite the slot to fall back to while the running firmware is on trial", async () => {
    const [v2, v3] = [await board.firmware("2.0.0"), await board.firmware("3.0.0")];
    assert.equal((await hublink(["apply", v2.path, "--config", config])).code, 0);
    const before = await readFile(board.disk);
    const { code, stderr } = await hublink(["apply", v3.path, "--config", config]);
    assert.equal(code, 1);
    assert.equal(stderr, "hublink: the running firmware is not validated yet\n");
    assert.ok((await readFile(board.disk)).equals(before), "the disk has changed");
  });

  it("installs from a URL", async () => {
    const v2 = await board.firmware("2.0.0");
    const url = board.hub.urlOf(await board.hub.publish(v2.path, v2.meta));
    const { code, stderr } = await hublink(["apply", url, "--config", config]);
    assert.equal(stderr, "");
    assert.equal(code, 0);
    assert.equal((await board.environment()).get("b.nerves_fw_uuid"), v2.uuid);
  });

  it("says at once why a URL brings nothing, and gives up with an error that names the host", async () => {
    const path = await board.writeConfig({
      firmware: { public_keys: [board.signingKey.publicKeyBase64] },
      update: { retry: { attempts: 2, delay_s: 0.01 } },
    });
    const { code, stderr } = await hublink(["apply", "http://localhost:1/a.fw?sig=secret", "--config", path]);
    assert.notEqual(code, 0);
    const [first, last] = stderr.trim().split("\n");
    assert.match(
      first ?? "",
      /download interrupted, trying again: localhost:1: nothing listens there \(ECONNREFUSED\)/,
    );
    assert.match(
      last ?? "",
      /^hublink: the download got no further in 2 attempts; the last one: localhost:1: nothing/,
    );
    assert.doesNotMatch(stderr, /secret/);
  });

  for (const [source, words] of [
    ["ftp://host.test/a.fw", "ftp:// can't be used"],
    ["http//host.test/a.fw", "the colon is missing after http, write http://"],
    ["https:/host.test/a.fw", "a slash is missing after https:, write https://"],
  ] as const) {
    it(`names what is wrong with ${source}, with 66`, async () => {
      const { code, stderr } = await hublink(["apply", source, "--config", config]);
      assert.equal(code, 66);
      assert.ok(stderr.startsWith(`hublink: firmware ${source}: ${words}; name a file, an http://`), stderr);
    });
  }

  it("installs from its standard input", async () => {
    const v2 = await board.firmware("2.0.0");
    const stdin = await readFile(v2.path);
    const { code, stderr } = await hublink(["apply", "-", "--config", config], { stdin });
    assert.equal(stderr, "");
    assert.equal(code, 0);
    assert.equal((await board.environment()).get("b.nerves_fw_uuid"), v2.uuid);
  });

  it("refuses to install without a key, with 78", async () => {
    const { code, stderr } = await hublink(["apply", board.v1.path, "--config", await board.writeConfig()]);
    assert.equal(code, 78);
    assert.match(stderr, /^hublink: firmware\.public_keys is empty: .*\n$/);
  });

  it("names a file that is missing, with 66", async () => {
    const { code, stderr } = await hublink(["apply", "/missing.fw", "--config", config]);
    assert.equal(code, 66);
    assert.equal(stderr, "hublink: firmware /missing.fw does not exist\n");
  });

  it("installs firmware of another product or platform with --force only, and clears nothing before it knows", async () => {
    const other = await board.firmware("2.0.0", { product: "another" });
    const before = await readFile(board.disk);
    const { code, stderr } = await hublink(["apply", other.path, "--config", config]);
    assert.equal(code, 1);
    assert.equal(
      stderr,
      'hublink: the firmware is not for this board: product is "another", the board\'s "demo-board"; --force installs it all the same\n',
    );
    assert.ok((await readFile(board.disk)).equals(before), "the disk has changed");
    const forced = await hublink(["apply", other.path, "--force", "--config", config]);
    assert.equal(forced.stderr, "");
    assert.equal((await board.environment()).get("b.nerves_fw_product"), "another");
  });

  it("shows fwup's reason for refusing an archive, before anything is written", async () => {
    const other = await board.firmware("2.0.0", { privateKey: generateSigningKey().privateKey });
    const before = await board.environment();
    const { code, stderr } = await hublink(["apply", other.path, "--config", config]);
    assert.equal(code, 1);
    assert.match(stderr, /^hublink: .*fails digital signature verification.*\n$/);
    assert.deepEqual(await board.environment(), before);
  });

  it("shows fwup's reason when a task refuses, and leaves the running slot active", async () => {
    const other = await board.firmware("2.0.0", { platform: "another" });
    const { code, stderr } = await hublink(["apply", other.path, "--force", "--config", config]);
    assert.equal(code, 1);
    assert.match(stderr, /^hublink: fwup error: .*platform.*\n$/i);
    assert.equal((await board.environment()).get("nerves_fw_active"), "a");
  });

  it("reports that an archive is cut off", async () => {
    const stdin = (await readFile(board.v1.path)).subarray(0, 500_000);
    const { code, stderr } = await hublink(["apply", "-", "--config", config], { stdin });
    assert.equal(code, 1);
    assert.match(stderr, /^hublink: fwup error: .*ZIP.*\n$/);
    assert.equal((await board.environment()).get("nerves_fw_active"), "a");
  });

  it("names a file that is empty, not firmware or cut short, and keeps the other slot", async () => {
    const bytes = await readFile(board.v1.path);
    const before = await readFile(board.disk);
    for (const [content, words] of [
      [Buffer.alloc(0), "is empty"],
      [Buffer.from("not a ZIP archive"), "is not a .fw file, which is a ZIP archive that fwup makes"],
      [bytes.subarray(0, -22), "is cut short: the end of the archive is missing; copy or send it once more"],
    ] as const) {
      const file = join(board.dir, "bad.fw");
      await writeFile(file, content);
      const { code, stderr } = await hublink(["apply", file, "--config", config]);
      assert.equal(stderr, `hublink: firmware ${file} ${words}\n`);
      assert.equal(code, 1);
    }
    assert.ok((await readFile(board.disk)).equals(before), "the disk has changed");
  });

  it("says of its standard input that it is empty, not firmware, or cut short", async () => {
    for (const [stdin, words] of [
      [Buffer.alloc(0), /firmware from standard input is empty\n$/],
      [Buffer.from("not a ZIP archive"), /firmware from standard input is not a \.fw file, which .+\n$/],
      [(await readFile(board.v1.path)).subarray(0, 500_000), /from standard input is cut short: .+\n$/],
    ] as const) {
      const { code, stderr } = await hublink(["apply", "-", "--config", config], { stdin });
      assert.equal(code, 1);
      assert.match(stderr, words);
    }
  });

  it("locks the slots against the daemon and other commands, and ends when interrupted", async () => {
    program = await start(["apply", "-", "--config", config, "--verbose"]);
    await program.logged(/event=offered/);
    for (const args of [["run"], ["apply", board.v1.path], ["validate"], ["revert"], ["status"]]) {
      const { code, stderr } = await hublink([...args, "--config", config]);
      assert.equal(code, 69, stderr);
      // `run` may have warned before: a user other than root can't set the clock.
      assert.match(stderr, /^hublink: (another hublink|hublink apply is at work).*\n$/m);
    }
    program.child.kill("SIGINT");
    const { code, stderr } = await program.ended;
    assert.equal(code, 1);
    assert.match(stderr, /^hublink: interrupted; .*$/m);
    assert.ok(!existsSync(join(board.dir, "hublink.sock")));
    assert.equal((await board.environment()).get("nerves_fw_active"), "a");
  });
});

describe("hublink apply with a daemon", () => {
  let board: TestBoard;
  let config: string;
  let daemon: Program;
  let program: Program | undefined;
  beforeEach(async () => {
    program = undefined;
    board = await setUpBoard({ config: { log: { level: "debug" } } });
    config = await board.writeConfig();
    daemon = await startDaemon(config);
    await daemon.logged(/joined the hub/); // the join brings the hub's keys
  });
  afterEach(async () => {
    await end(program);
    await end(daemon);
    await board.remove();
  });

  it("installs a file, and shows in the status what was installed", async () => {
    const v2 = await board.firmware("2.0.0");
    const { code, stdout, stderr } = await hublink(["apply", v2.path, "--config", config]);
    assert.equal(stderr, "");
    assert.equal(stdout, `installed 2.0.0 (${v2.uuid}); hublink reboot starts it\n`);
    assert.equal(code, 0);
    assert.equal((await board.environment()).get("b.nerves_fw_uuid"), v2.uuid);
    const status = await hublink(["status", "--config", config]);
    assert.match(
      status.stdout,
      /^last update {2}installed, starts with the next reboot\n {13}[0-9a-f-]{36}$/m,
    );
    // The hub did not ask for this update, so it gets no report.
    assert.deepEqual(board.hub.device("board-1").statuses, []);
  });

  it("installs from its standard input after a failure, and refuses the next until the reboot", async () => {
    const v2 = await board.firmware("2.0.0");
    const stdin = await readFile(v2.path);
    const cut = await hublink(["apply", "-", "--config", config], { stdin: stdin.subarray(0, 300_000) });
    assert.equal(cut.code, 1);
    assert.match(cut.stderr, /^hublink: fwup error: .*\n$/);
    const whole = await hublink(["apply", "-", "--config", config], { stdin });
    assert.equal(whole.stderr, "");
    assert.equal(whole.code, 0);
    const url = board.hub.urlOf(await board.hub.publish(v2.path, v2.meta));
    const again = await hublink(["apply", url, "--config", config]);
    assert.equal(again.code, 69);
    assert.match(again.stderr, /^hublink: an update is installed and waits for its reboot.*\n$/);
  });

  it("names a file that is missing, with 66 as without a daemon", async () => {
    const { code, stderr } = await hublink(["apply", "/missing.fw", "--config", config]);
    assert.equal(code, 66);
    assert.equal(stderr, "hublink: firmware /missing.fw does not exist\n");
  });

  it("says at once why a URL brings nothing to the daemon, which shows it in its status too", async () => {
    program = await start(["apply", "http://localhost:1/a.fw", "--config", config]);
    await program.logged(/hublink: the download waits \d+ s: localhost:1: nothing listens there/);
    const { stdout } = await hublink(["status", "--json", "--config", config]);
    const { update } = JSON.parse(stdout) as { update: { waiting: { reason: string; for_s: number } } };
    assert.match(update.waiting.reason, /^localhost:1: nothing listens there \(ECONNREFUSED\)$/);
    assert.ok(update.waiting.for_s >= 0);
    const shown = await hublink(["status", "--config", config]);
    assert.match(shown.stdout, /no byte for \d+ s: localhost:1: nothing/);
  });

  it("says on Ctrl-C that the daemon goes on with a file, and the daemon does", async () => {
    const v2 = await board.firmware("2.0.0");
    program = await start(["apply", v2.path, "--config", config]);
    await daemon.logged(/event=offered/);
    program.child.kill("SIGINT");
    const { code, stderr } = await program.ended;
    assert.equal(code, 1);
    assert.equal(
      stderr,
      "hublink: interrupted; the daemon goes on and installs it, as `hublink status` shows\n",
    );
    await daemon.logged(/the update is installed/);
  });

  it("installs another product's firmware with --force only", async () => {
    const other = await board.firmware("2.0.0", { product: "another" });
    const refused = await hublink(["apply", other.path, "--config", config]);
    assert.match(refused.stderr, /the firmware is not for this board: product is "another"/);
    assert.equal(refused.code, 1);
    assert.equal((await hublink(["apply", other.path, "--force", "--config", config])).code, 0);
  });

  it("refuses a second one with 69 while the first runs; a broken pipe ends the first", async () => {
    program = await start(["apply", "-", "--config", config]);
    // Only the head: the daemon then waits for more.
    program.child.stdin.write((await readFile(board.v1.path)).subarray(0, 300_000));
    await daemon.logged(/event=offered/);
    const second = await hublink(["apply", board.v1.path, "--config", config]);
    assert.equal(second.code, 69);
    assert.match(second.stderr, /^hublink: an update is under way; .*\n$/);
    program.child.kill("SIGINT");
    const { code, stderr } = await program.ended;
    assert.equal(code, 1);
    assert.match(stderr, /^hublink: interrupted; .*\n$/);
    await daemon.logged(/the update is failed/);
  });
});
