import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { IDENTIFIER, setUpBoard, type TestBoard } from "../agent/board.ts";
import { end, hublink, startDaemon, type Program } from "./program.ts";

/** In no list of users, as a number that an image's own service has. */
const USER = 4321;

/** @param capabilities what the user has of root's power, as `AmbientCapabilities=` gives it */
const asUser = (...capabilities: string[]): string[] => [
  ...["setpriv", `--reuid=${USER}`, `--regid=${USER}`, "--clear-groups"],
  `--inh-caps=${["-all", ...capabilities.map((name) => `+${name}`)].join(",")}`,
  `--ambient-caps=${["-all", ...capabilities.map((name) => `+${name}`)].join(",")}`,
];

const [, ...options] = [...asUser("sys_boot", "sys_time"), "true"];
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
  /** What docs/board.md says: the disk, the state, the key and the socket's folder are the user's. */
  const give = async (overrides: Parameters<TestBoard["writeConfig"]>[0]): Promise<void> => {
    config = await board.writeConfig(overrides);
    execFileSync("chown", ["-R", `${USER}:${USER}`, board.dir]);
  };
  const check = async (...capabilities: string[]) =>
    hublink(["check", "--config", config], { within: asUser(...capabilities) });

  it("updates the board, proves the firmware good, and gives people a shell", async () => {
    await give({ console: { enabled: true } });
    daemon = await startDaemon(config, { within: asUser() });
    await daemon.logged(/joined the hub's console/);
    board.hub.send(IDENTIFIER, "console", "dn", { data: "id -u; pwd\r" });
    const device = board.hub.device(IDENTIFIER);
    await board.hub
      .until(() => device.console.includes(`${USER}\r\n/\r\n`))
      .catch(() => assert.fail(`the console shows ${JSON.stringify(device.console)}`));

    const v2 = await board.firmware("2.0.0");
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    await board.untilRebooted(1);
    assert.equal((await board.environment()).get("nerves_fw_active"), "b");
    await end(daemon);
    daemon = await startDaemon(config, { within: asUser() });
    await daemon.logged(/the running firmware is marked good/);
  });

  it("is told of nothing that is missing when it has the capabilities to reboot and to set the clock", async () => {
    await give({ reboot: { command: "" } });
    const { code, stdout } = await check("sys_boot", "sys_time");
    assert.equal(code, 0);
    assert.match(stdout, /^ok {3}user {11}4321$/m);
    assert.doesNotMatch(stdout, /^warn user/m);
  });

  it("is told what it may not do, by check and at its start", async () => {
    await give({ reboot: { command: "" } });
    const { code, stdout } = await check();
    assert.equal(code, 0, "a board that can be talked to can be helped");
    for (const line of [
      /^warn user {11}without CAP_SYS_BOOT the agent can't reboot the board: give it that, or set reboot\.command$/m,
      /^warn user {11}without CAP_SYS_TIME the agent can't set the board's clock, and counts on by itself$/m,
    ])
      assert.match(stdout, line);
    daemon = await startDaemon(config, { within: asUser() });
    await daemon.logged(/level=warn .*without CAP_SYS_BOOT/);
    await daemon.logged(/level=warn .*without CAP_SYS_TIME/);
  });

  it("is told which file is not its own", async () => {
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
