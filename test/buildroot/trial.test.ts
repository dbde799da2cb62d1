/**
 * The watch over firmware on trial from outside of the agent. A board whose new agent could not start once stayed in
 * that firmware for ever, since the deadline of the trial was the agent's own.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { IDENTIFIER, type TestBoard } from "../agent/board.ts";
import { eventually } from "../eventually.ts";
import { missing } from "./card.ts";
import { cannotIsolate, install, PACKAGE } from "./installed.ts";
import { bootSystem, type System } from "./system.ts";

const TRIAL = "/usr/libexec/hublink-trial";
const PENDING = '{\n  "pending_validation": true\n}';
const VALIDATED = '{\n  "pending_validation": false\n}';

describe("firmware on trial", { skip: cannotIsolate || missing("busybox") }, () => {
  let folder: string;
  let agent: string;
  let system: System;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "hublink-trial-"));
    agent = join(folder, "agent");
    await boot("root=/dev/mmcblk0p3 fw_slot=b fw_validated=0");
  });
  afterEach(async () => {
    system.end();
    await rm(folder, { recursive: true });
  });

  /** A board whose boot script has passed these words, and whose `reboot` only leaves a note. */
  async function boot(words: string, env: Readonly<Record<string, string>> = {}): Promise<void> {
    system = await bootSystem({ HUBLINK: agent, ...env });
    await system.run(`echo "${words}" > /run/cmdline && mount --bind /run/cmdline /proc/cmdline`);
    await system.run(`echo 'echo "$0 $*" >> ${folder}/rebooted' > /run/reboot && chmod +x /run/reboot`);
    await system.run("ln -s /run/reboot /run/bin/reboot");
    await answers(undefined);
  }

  /** What the agent answers from now on; undefined: it does not even start. */
  const answers = async (text: string | undefined): Promise<void> =>
    writeFile(agent, text === undefined ? "damaged\n" : `#!/bin/sh\necho '${text}'\n`, { mode: 0o755 });
  const check = async (times: number): Promise<void> => {
    for (let done = 0; done < times; done += 1) await system.run(`${TRIAL} check`);
  };
  const rebooted = async (): Promise<boolean> =>
    readFile(join(folder, "rebooted")).then(
      () => true,
      () => false,
    );

  it("is left by a reboot when its agent does not answer three times in a row", async () => {
    await check(2);
    assert.equal(await rebooted(), false);
    await check(1);
    assert.equal(await rebooted(), true);
  });

  it("stays while its agent answers, which has a deadline of its own", async () => {
    await answers(PENDING);
    await check(4);
    await answers(undefined);
    await check(2);
    await answers(PENDING);
    await check(1);
    await answers(undefined);
    await check(2);
    assert.equal(await rebooted(), false);
  });

  it("is not watched any more once it is marked good", async () => {
    await answers(VALIDATED);
    await check(1);
    await answers(undefined);
    await check(4);
    assert.equal(await rebooted(), false);
  });

  it("is left also when its agent hangs", async () => {
    system.end();
    await boot("fw_validated=0", { HUBLINK_ANSWER_S: "0.2" });
    await writeFile(agent, "#!/bin/sh\nexec sleep 1000\n", { mode: 0o755 });
    await check(3);
    assert.equal(await rebooted(), true);
  });

  it("is the only firmware that is watched", async () => {
    system.end();
    await boot("fw_slot=b fw_validated=1");
    await check(4);
    assert.equal(await rebooted(), false);
  });

  it("is left by the supervisor of the init script too", async () => {
    system.end();
    await boot("fw_validated=0", { HUBLINK_TRIAL_S: "0.1" });
    await system.script("start");
    await eventually(rebooted, "the reboot");
  });

  describe("on a board whose watchdog U-Boot armed", () => {
    const watchdog = async (): Promise<string> => (await system.run("cat /dev/watchdog; echo")).trim();
    const bootArmed = async (words: string): Promise<void> => {
      system.end();
      await boot(words);
      await system.run(": > /dev/watchdog");
    };

    it("may rest the watchdog once, when the system is up", async () => {
      await bootArmed("fw_validated=0 watchdog.open_timeout=300");
      await system.run(`${TRIAL} begin`);
      assert.equal(await watchdog(), "V");
      await system.run(`: > /dev/watchdog; ${TRIAL} begin`);
      assert.equal(await watchdog(), "");
    });

    it("makes no file where there is no watchdog", async () => {
      await bootArmed("fw_validated=0 watchdog.open_timeout=300");
      await system.run(`rm /dev/watchdog; ${TRIAL} begin; test ! -e /dev/watchdog`);
    });

    it("leaves a watchdog alone that the kernel does not feed, or can't stop", async () => {
      await bootArmed("fw_validated=0");
      await system.run(`${TRIAL} begin`);
      assert.equal(await watchdog(), "");
      await bootArmed("fw_validated=0 watchdog.open_timeout=300");
      await system.run("mount -t tmpfs none /sys/class && mkdir -p /sys/class/watchdog/watchdog0");
      await system.run("echo 1 > /sys/class/watchdog/watchdog0/nowayout");
      await system.run(`${TRIAL} begin`);
      assert.equal(await watchdog(), "");
    });
  });
});

describe("firmware on trial, with the agent itself", { skip: cannotIsolate || missing("busybox") }, () => {
  let board: TestBoard;
  let hublink: string;
  before(async () => ({ board, hublink } = await install()));
  after(async () => board.remove());

  it("is over once the agent says that it is marked good", async () => {
    const system = await bootSystem({ HUBLINK: hublink });
    try {
      await system.run("echo fw_validated=0 > /run/cmdline && mount --bind /run/cmdline /proc/cmdline");
      await system.script("start");
      await board.hub.until(() => board.hub.device(IDENTIFIER).online);
      await system.run(`${TRIAL} check`);
      assert.equal(await system.run("cat /run/hublink.trial"), "over\n");
    } finally {
      system.end();
    }
  });
});

describe("the systemd units of the trial", { skip: missing("systemd-analyze") }, () => {
  it("are valid for systemd", async () => {
    const folder = await mkdtemp(join(tmpdir(), "hublink-unit-"));
    try {
      for (const name of ["hublink.service", "hublink-trial.service", "hublink-trial.timer"]) {
        await cp(join(PACKAGE, name), join(folder, name));
        const text = await readFile(join(folder, name), "utf8");
        await writeFile(
          join(folder, name),
          text.replaceAll(/\/usr\/(?:bin|libexec)\/hublink\S*/g, process.execPath),
        );
      }
      const { stdout, stderr, status } = spawnSync(
        "systemd-analyze",
        ["verify", join(folder, "hublink-trial.timer")],
        {
          encoding: "utf8",
        },
      );
      assert.equal(`${stdout}${stderr}${status ?? ""}`, "0");
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
