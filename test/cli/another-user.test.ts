/** The agent as a user other than root, set up as docs/board.md says. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { IDENTIFIER, setUpBoard, type TestBoard } from "../agent/board.ts";
import { end, hublink, startDaemon, type Program } from "./program.ts";

/** Not in /etc/passwd, like a user that exists only in an image. */
const USER = 4321;

/** Debian's `nobody`, whose home folder does not exist, like that of many a user made for a service. */
const NOBODY = 65534;

/** @param capabilities what the user may do besides, as with systemd's `AmbientCapabilities=` */
const as = (user: number, ...capabilities: string[]): string[] => [
  ...["setpriv", `--reuid=${user}`, `--regid=${user}`, "--clear-groups"],
  `--inh-caps=${["-all", ...capabilities.map((name) => `+${name}`)].join(",")}`,
  `--ambient-caps=${["-all", ...capabilities.map((name) => `+${name}`)].join(",")}`,
];

const [, ...options] = [...as(USER, "sys_boot", "sys_time"), "true"];
const cannotBeUser =
  spawnSync("setpriv", options).status === 0 ? false : "only root can be another user, with capabilities";

describe("hublink as a user other than root", { skip: cannotBeUser }, () => {
  let board: TestBoard;
  let config: string;
  let daemon: Program | undefined;
  beforeEach(async () => {
    board = await setUpBoard();
    daemon = undefined;
  });
  afterEach(async () => {
    await end(daemon);
    await board.remove();
  });
  /** Gives the disk, the state, the key and the socket's folder to the user, as docs/board.md says. */
  const give = async (overrides: Parameters<TestBoard["writeConfig"]>[0], user = USER): Promise<void> => {
    config = await board.writeConfig(overrides);
    execFileSync("chown", ["-R", `${user}:${user}`, board.dir]);
  };
  const shows = async (text: string): Promise<void> => {
    const device = board.hub.device(IDENTIFIER);
    await board.hub
      .until(() => device.console.includes(text))
      .catch(() => assert.fail(`the console shows ${JSON.stringify(device.console)}`));
  };
  const check = async (...capabilities: string[]) =>
    hublink(["check", "--config", config], { within: as(USER, ...capabilities) });

  it("updates the board, validates the firmware, and offers a shell", async () => {
    await give({ console: { enabled: true } });
    daemon = await startDaemon(config, { within: as(USER) });
    await daemon.logged(/joined the hub's console/);
    board.hub.send(IDENTIFIER, "console", "dn", { data: "id -u; pwd\r" });
    await shows(`${USER}\r\n/\r\n`);

    const v2 = await board.firmware("2.0.0");
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    await board.untilRebooted(1);
    assert.equal((await board.environment()).get("nerves_fw_active"), "b");
    await end(daemon);
    daemon = await startDaemon(config, { within: as(USER) });
    await daemon.logged(/the running firmware is marked good/);
  });

  it("offers a shell in / where the user has no home folder", async () => {
    await give({ console: { enabled: true } }, NOBODY);
    daemon = await startDaemon(config, { within: as(NOBODY) });
    await daemon.logged(/joined the hub's console/);
    board.hub.send(IDENTIFIER, "console", "dn", { data: 'id -u; pwd; echo "[$HOME]"\r' });
    await shows(`${NOBODY}\r\n/\r\n[/]\r\n`);
  });

  it("gets no warning with the capabilities to reboot and to set the clock", async () => {
    await give({ reboot: { command: "" } });
    const { code, stdout } = await check("sys_boot", "sys_time");
    assert.equal(code, 0);
    assert.match(stdout, /^ok {3}user {11}4321$/m);
    assert.doesNotMatch(stdout, /^warn user/m);
  });

  it("gets a warning for each missing capability, from check and at the start", async () => {
    await give({ reboot: { command: "" } });
    const { code, stdout } = await check();
    assert.equal(code, 0, "a board that can be talked to can be helped");
    for (const line of [
      /^warn user {11}without CAP_SYS_BOOT the agent can't reboot the board: give it that, or set reboot\.command$/m,
      /^warn user {11}without CAP_SYS_TIME the agent can't set the board's clock, and counts on by itself$/m,
    ])
      assert.match(stdout, line);
    daemon = await startDaemon(config, { within: as(USER) });
    await daemon.logged(/level=warn .*without CAP_SYS_BOOT/);
    await daemon.logged(/level=warn .*without CAP_SYS_TIME/);
  });

  it("gets the names of files that the user may not use", async () => {
    const watchdog = join(board.dir, "watchdog");
    await give({ watchdog: { device: watchdog } });
    execFileSync("mknod", [watchdog, "c", "1", "3"]);
    for (const path of [watchdog, board.disk]) {
      execFileSync("chown", ["root:root", path]);
      await chmod(path, 0o600);
    }
    const { code, stdout } = await check();
    assert.equal(code, 77);
    assert.match(stdout, /^FAIL device .*disk\.img.*permission denied/m);
    assert.match(stdout, /^FAIL watchdog .*watchdog.*permission denied/m);
  });
});
