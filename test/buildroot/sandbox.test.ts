import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import { IDENTIFIER } from "../agent/board.ts";
import { eventually } from "../firmware/left-behind.ts";
import { missing } from "./card.ts";
import { cannotIsolate, install, isolated, PACKAGE, type Installed } from "./installed.ts";

/** Of a whole system's units, only that there are such targets. */
const TARGETS = "sysinit basic shutdown network network-online time-sync local-fs multi-user".split(" ");

describe("the systemd unit, by systemd", { skip: cannotIsolate || missing("systemd-analyze") }, () => {
  let board: Installed["board"];
  let hublink: string;
  let units: string;
  let systemd: ChildProcess | undefined;
  before(async () => {
    ({ board, hublink } = await install({ validation: { command: "test ! -w /usr" } }));
    units = join(board.dir, "units");
    await mkdir(join(units, "hublink.service.d"), { recursive: true });
  });
  after(async () => {
    systemd?.kill("SIGKILL");
    await board.remove();
  });
  const log = (): string => readFileSync(join(board.dir, "log"), "utf8");

  /** As PID 1 of a namespace of its own, which sees no unit but these. @returns false where that can't be */
  const boot = async (): Promise<boolean> => {
    const unit = async (name: string, text: string): Promise<void> => writeFile(join(units, name), text);
    for (const name of TARGETS) await unit(`${name}.target`, "[Unit]\nDefaultDependencies=no\n");
    await unit("test.target", "[Unit]\nDefaultDependencies=no\nWants=up.service hublink.service\n");
    const up = join(board.dir, "up");
    await unit("up.service", `[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/touch ${up}\n`);
    await cp(join(PACKAGE, "hublink.service"), join(units, "hublink.service"));
    await unit(
      "hublink.service.d/place.conf",
      `[Service]\nExecStartPre=\nExecStart=\nExecStart=${hublink} run\nRestartSec=0\n` +
        `Environment=PATH=${process.env["PATH"] ?? ""}\n` +
        `StandardOutput=append:${join(board.dir, "log")}\nStandardError=inherit\n`,
    );
    const start = "mount -t tmpfs none /run && exec /lib/systemd/systemd --system --unit=test.target";
    systemd = spawn("unshare", [...isolated, "--cgroup", "--uts", "--ipc", "/bin/sh", "-c", start], {
      env: { container: "unshare", SYSTEMD_UNIT_PATH: units, PATH: process.env["PATH"] },
      stdio: "ignore",
    });
    return eventually(() => existsSync(up), "systemd has come up").then(
      () => true,
      () => false,
    );
  };

  it("lets the agent update the board and prove it good, with the system read-only", async (t: TestContext) => {
    if (!(await boot())) {
      t.skip("systemd can't be PID 1 of a namespace here");
      return;
    }
    await board.hub.until(() => board.hub.device(IDENTIFIER).online, 20_000);
    const v2 = await board.firmware("2.0.0");
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    await board.untilRebooted(1);
    assert.equal((await board.environment()).get("nerves_fw_active"), "b");

    // The board is an image file: the agent's next life is its next boot.
    spawnSync("pkill", ["-KILL", "-f", `hublink.cjs run --config ${board.dir}`]);
    await eventually(() => /the running firmware is marked good/.test(log()), "marked good");
    assert.equal((await board.environment()).get("nerves_fw_validated"), "1");
    assert.doesNotMatch(log(), /level=error/);
  });
});
