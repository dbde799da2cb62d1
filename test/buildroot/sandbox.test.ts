/** The systemd unit under a real systemd: its sandbox must leave the agent all that an update needs. */
import assert from "node:assert/strict";
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, it, type TestContext } from "node:test";
import { IDENTIFIER, type TestBoard } from "../agent/board.ts";
import { eventually } from "../eventually.ts";
import { missing } from "./card.ts";
import { cannotIsolate, install, isolated, PACKAGE } from "./installed.ts";

/** The targets that the unit refers to; they are empty here. */
const TARGETS = "sysinit basic shutdown network network-online time-sync local-fs multi-user".split(" ");
/** The number of the user hublink, who exists only in the namespace. */
const USER = 4321;

describe("the systemd unit, by systemd", { skip: cannotIsolate || missing("systemd-analyze") }, () => {
  let board: TestBoard;
  let systemd: ChildProcess | undefined;
  /** Whether systemd has failed to start before. One such wait is enough: it takes as long as a test may. */
  let canBoot = true;
  afterEach(async () => {
    systemd?.kill("SIGKILL");
    await board.remove();
  });
  const log = (): string => readFileSync(join(board.dir, "log"), "utf8");

  /**
   * Starts systemd as PID 1 of a namespace of its own, which has only these units.
   * @param dropIn the text of a drop-in for the unit
   * @returns false when systemd can't run here
   */
  const boot = async (hublink: string, dropIn = ""): Promise<boolean> => {
    if (!canBoot) return false;
    const units = join(board.dir, "units");
    await mkdir(join(units, "hublink.service.d"), { recursive: true });
    const unit = async (name: string, text: string): Promise<void> => writeFile(join(units, name), text);
    for (const list of ["passwd", "group"]) {
      const entry = list === "passwd" ? `hublink:x:${USER}:${USER}::/:/bin/sh` : `hublink:x:${USER}:`;
      await writeFile(join(board.dir, list), `${await readFile(`/etc/${list}`, "utf8")}${entry}\n`);
    }
    for (const name of TARGETS) await unit(`${name}.target`, "[Unit]\nDefaultDependencies=no\n");
    await unit("test.target", "[Unit]\nDefaultDependencies=no\nWants=up.service hublink.service\n");
    const up = join(board.dir, "up");
    await unit("up.service", `[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/touch ${up}\n`);
    await cp(join(PACKAGE, "hublink.service"), join(units, "hublink.service"));
    await unit("hublink.service.d/user.conf", dropIn);
    await unit(
      "hublink.service.d/place.conf",
      `[Service]\nExecStartPre=\nExecStart=\nExecStart=${hublink} run\nRestartSec=0\n` +
        `Environment=PATH=${process.env["PATH"] ?? ""}\n` +
        `StandardOutput=append:${join(board.dir, "log")}\nStandardError=inherit\n`,
    );
    const start =
      "mount -t tmpfs -o mode=755 none /run && mount -t tmpfs -o mode=755 none /var/lib && " +
      `for list in passwd group; do mount --bind ${board.dir}/$list /etc/$list || exit; done && ` +
      "exec /lib/systemd/systemd --system --unit=test.target";
    systemd = spawn("unshare", [...isolated, "--cgroup", "--uts", "--ipc", "/bin/sh", "-c", start], {
      env: { container: "unshare", SYSTEMD_UNIT_PATH: units, PATH: process.env["PATH"] },
      stdio: "ignore",
    });
    const ended = once(systemd, "exit").then(() => false);
    const started = eventually(() => existsSync(up), "the start of systemd").then(
      () => true,
      () => false, // as PID 1, systemd does not end when it can't go on
    );
    canBoot = await Promise.race([started, ended]);
    return canBoot;
  };
  const updateAndProve = async (): Promise<void> => {
    await board.hub.until(() => board.hub.device(IDENTIFIER).online);
    const v2 = await board.firmware("2.0.0");
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    await board.untilRebooted(1);
    assert.equal((await board.environment()).get("nerves_fw_active"), "b");
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "firmware_validated");
    assert.equal((await board.environment()).get("nerves_fw_validated"), "1");
    assert.doesNotMatch(log(), /level=error/);
  };

  /** The board is an image file, so the start of an agent is its boot. */
  const reboot = () => ({ command: `echo x >> ${board.dir}/reboots; kill -KILL $PPID` });

  it("lets the agent update and validate the board while the system is read-only", async (t: TestContext) => {
    const installed = await install();
    ({ board } = installed);
    await board.writeConfig({ reboot: reboot(), validation: { command: "test ! -w /usr" } });
    if (await boot(installed.hublink)) await updateAndProve();
    else t.skip("systemd can't be PID 1 of a namespace here");
  });

  it("does so too for another user, set up as docs/board.md says", async (t: TestContext) => {
    const page = await readFile(join(import.meta.dirname, "../../docs/board.md"), "utf8");
    const [, dropIn = ""] = /```ini\n(.*?)```/s.exec(page) ?? [];
    const [, dir] = /`state\.dir = "(.*?)"`/.exec(page) ?? [];
    const [, socket] = /`state\.control_socket = "(.*?)"`/.exec(page) ?? [];
    const installed = await install();
    ({ board } = installed);
    await board.writeConfig({
      reboot: reboot(),
      state: { dir, control_socket: socket },
      validation: { command: `test $(id -u) = ${USER}` },
    });
    execFileSync("chown", ["-R", `${USER}:${USER}`, board.dir]);
    if (await boot(installed.hublink, dropIn)) {
      await updateAndProve();
      assert.doesNotMatch(log(), /CAP_SYS|can't be kept|can't be written/);
    } else t.skip("systemd can't be PID 1 of a namespace here");
  });
});
