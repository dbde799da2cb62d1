/** Two hublinks that are started at the same moment: one daemon lives, and one fwup writes. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { setUpBoard, type TestBoard } from "../agent/board.ts";
import { scriptedFwup } from "../firmware/fwups.ts";
import { end, hublink, start, startDaemon, type Program } from "./program.ts";

const TIMES = 20;

describe("hublinks that are started at the same moment", () => {
  let board: TestBoard;
  let programs: Program[];
  beforeEach(async () => {
    programs = [];
    board = await setUpBoard();
  });
  afterEach(async () => {
    for (const program of programs) await end(program);
    await board.remove();
  });

  it(`exactly one of two daemons lives, ${TIMES} times, and the other one names it`, async () => {
    const config = await board.writeConfig();
    for (let time = 0; time < TIMES; time += 1) {
      const run = async (): Promise<Program> => start(["run", "--config", config]);
      programs = await Promise.all([run(), run()]);
      const first = await Promise.race(programs.map(async ({ ended }) => ended));
      assert.equal(first.code, 69);
      const [lives, ...others] = programs.filter(({ child }) => child.exitCode === null);
      assert.ok(lives !== undefined && others.length === 0);
      const words = `another hublink already listens on this board \\(pid ${lives.child.pid}\\), at `;
      assert.match(first.stderr, new RegExp(`^hublink: ${words}.*hublink\\.sock; stop it first$`, "m"));
      await lives.logged(/hublink started/);
      assert.equal((await hublink(["validate", "--config", config])).code, 0);
      await end(lives); // by SIGKILL, so its socket stays for the next two
    }
  });

  it("of two applies one installs, with one fwup at a time, and the other one says that it is at work", async () => {
    const real = board.config().firmware.fwup;
    const busy = join(board.dir, "busy");
    const overlap = join(board.dir, "overlap");
    const begun = join(board.dir, "begun");
    const fwup = await scriptedFwup(
      board.dir,
      `case "$*" in *--apply*) ;; *) exec ${real} "$@" ;; esac`,
      ...[`echo x >> ${begun}`, `mkdir ${busy} || touch ${overlap}`, `${real} "$@"`, "code=$?"],
      ...[`rmdir ${busy}`, "exit $code"],
    );
    const keys = [board.signingKey.publicKeyBase64];
    const config = await board.writeConfig({ firmware: { fwup, public_keys: keys, ops_file: "/missing" } });
    const v2 = await board.firmware("2.0.0");
    const apply = async (): Promise<Program> => start(["apply", v2.path, "--config", config]);
    programs = await Promise.all([apply(), apply()]);
    const ends = await Promise.all(programs.map(async ({ ended }) => ended));
    assert.deepEqual(ends.map(({ code }) => code).toSorted(), [0, 69], JSON.stringify(ends));
    const refused = ends.find(({ code }) => code === 69);
    assert.match(
      refused?.stderr ?? "",
      /^hublink: (another hublink is at work \(pid \d+\); |hublink apply is at work; )/,
    );
    assert.ok(!existsSync(overlap));
    assert.equal(await readFile(begun, "utf8"), "x\n");
  });

  it("a daemon that has another control socket is kept out by the state folder", async () => {
    const config = await board.writeConfig();
    programs = [await startDaemon(config)];
    const env = { HUBLINK_STATE__CONTROL_SOCKET: join(board.dir, "other.sock") };
    const second = await hublink(["run", "--config", config], { env });
    assert.equal(second.code, 69);
    assert.match(second.stderr, new RegExp(`\\(pid ${programs[0]?.child.pid}\\)`));
  });

  it("two with other state folders meet at the device that they write, also by a symbolic link", async () => {
    const go = join(board.dir, "go");
    execFileSync("mkfifo", [go]);
    const real = board.config().firmware.fwup;
    const fwup = await scriptedFwup(
      board.dir,
      `case "$*" in *upgrade*) read -r line < ${go} ;; esac`,
      `exec ${real} "$@"`,
    );
    const firmware = { fwup, public_keys: [board.signingKey.publicKeyBase64] };
    const config = await board.writeConfig({ firmware });
    const v2 = await board.firmware("2.0.0");
    const first = await start(["apply", v2.path, "--config", config, "--verbose"]);
    programs = [first];
    await first.logged(/event=cleared/);
    const link = join(board.dir, "by-id");
    await symlink(board.disk, link);
    const env = {
      HUBLINK_STATE__DIR: join(board.dir, "other"),
      HUBLINK_STATE__CONTROL_SOCKET: join(board.dir, "other.sock"),
      HUBLINK_FIRMWARE__DEVPATH: link,
    };
    const second = await hublink(["apply", v2.path, "--config", config], { env });
    const who = `another hublink (pid ${first.child.pid})`;
    assert.deepEqual(
      [second.code, second.stderr],
      [1, `hublink: ${who} writes to the device ${link}; try again when it has ended\n`],
    );
    await writeFile(go, "\n");
    assert.equal((await first.ended).code, 0);
    assert.equal((await board.environment()).get("b.nerves_fw_uuid"), v2.uuid);
  });
});
