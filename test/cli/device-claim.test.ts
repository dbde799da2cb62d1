/** Who writes to the device beside the agent: an fwup that outlived a killed agent is ended, other people's is awaited. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync } from "node:fs";
import { chmod, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { IDENTIFIER, setUpBoard, type TestBoard } from "../agent/board.ts";
import { holdAfter } from "../agent/held-download.ts";
import { eventually } from "../eventually.ts";
import { scriptedFwup } from "../firmware/fwups.ts";
import { end, hublink, startDaemon, type Program } from "./program.ts";

describe("the device", () => {
  let board: TestBoard;
  let daemon: Program | undefined;
  let other: ChildProcess | undefined;
  beforeEach(async () => {
    [daemon, other] = [undefined, undefined];
    board = await setUpBoard();
  });
  afterEach(async () => {
    await end(daemon);
    other?.kill("SIGKILL");
    await board.remove();
  });
  /** How the hub's update ended, in the agent's words. */
  const answer = async (): Promise<string> => {
    const { payload } = await board.hub.waitFor(IDENTIFIER, ({ event, payload }) => {
      const { status = "" } = (payload ?? {}) as { status?: string };
      return event === "status_update" && /^(completed|failed|ignored|rescheduled)$/.test(status);
    });
    const { status, reason } = payload as Record<string, unknown>;
    return `${String(status)}: ${String(reason)}`;
  };
  const deploy = async (): Promise<string> => {
    const v2 = await board.firmware("2.0.0");
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta), { penaltyMs: 0 });
    return v2.uuid;
  };
  /** Somebody's fwup: it has the device open for writing, and goes on until it is killed. */
  const startOther = async (path = board.disk): Promise<number> => {
    const program = join(board.dir, "fwup");
    await writeFile(program, `#!/bin/sh\nexec 3<> ${path}\necho open\nread -r end\n`);
    await chmod(program, 0o755);
    other = spawn(program, { stdio: ["pipe", "pipe", "inherit"] });
    await once(other.stdout ?? other, "data");
    return other.pid ?? 0;
  };

  for (const [what, code] of [
    ["has the device open", (disk: string) => `exec 3<> ${disk}`],
    ["has not opened it yet", () => ""],
  ] as const) {
    it(`is rid of an fwup that outlived a killed agent and ${what}, before the next one writes`, async () => {
      const uuid = await deploy();
      const real = board.config().firmware.fwup;
      const alive = join(board.dir, "alive");
      const left = join(board.dir, "left");
      const overlap = join(board.dir, "overlap");
      const fwup = await scriptedFwup(
        board.dir,
        `if [ ! -e ${alive} ]; then`,
        `  case "$*" in *--apply*) grep -q '^State:.[^ZX]' /proc/$(cat ${left})/status && touch ${overlap} ;; esac`,
        `  exec ${real} "$@"`,
        "fi",
        `case "$*" in *upgrade*) ;; *) exec ${real} "$@" ;; esac`,
        ...[
          code(board.disk),
          `echo $$ > ${left}`,
          `rm ${alive}`,
          "kill -9 $PPID",
          "while :; do sleep 1; done",
        ],
      );
      await writeFile(alive, "");
      const config = await board.writeConfig({ firmware: { fwup }, reboot: { grace_s: 0.01 } });
      daemon = await startDaemon(config);
      await daemon.ended;
      const pid = Number(await readFile(left, "utf8"));
      assert.ok(existsSync(`/proc/${pid}`), "it outlives the agent");
      daemon = await startDaemon(config);
      await daemon.logged(new RegExp(`an fwup of an earlier hublink is ended.* pid=${pid}`));
      await board.untilRebooted(1);
      assert.ok(!existsSync(overlap));
      const environment = await board.environment();
      assert.equal(environment.get("nerves_fw_active"), "b");
      assert.equal(environment.get("b.nerves_fw_uuid"), uuid);
    });
  }

  it("is left to somebody's fwup: an update is put off before anything is written", async () => {
    const pid = await startOther();
    const before = await readFile(board.disk);
    await deploy();
    daemon = await startDaemon(await board.writeConfig());
    assert.equal(await answer(), `rescheduled: another program writes to the device: fwup (pid ${pid})`);
    assert.ok(before.equals(await readFile(board.disk)));
    assert.equal(other?.exitCode, null);
  });

  it("is left to somebody's fwup that begins while an update is written, and the running slot stays", async () => {
    const download = holdAfter(1_500_000);
    board.hub.faults.add(download);
    await deploy();
    daemon = await startDaemon(await board.writeConfig({ update: { mode: "stream" } }));
    await download.held;
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "fwup_progress");
    const pid = await startOther();
    download.goOn();
    assert.equal(await answer(), `rescheduled: another program writes to the device: fwup (pid ${pid})`);
    assert.equal((await board.environment()).get("nerves_fw_active"), "a");
    assert.equal(other?.exitCode, null);
  });

  it("counts as the same by a symbolic link, and a reader does not count", async () => {
    const link = join(board.dir, "by-id");
    await symlink(board.disk, link);
    const keys = { public_keys: [board.signingKey.publicKeyBase64] };
    const config = await board.writeConfig({ firmware: { ...keys, devpath: link } });
    const v2 = await board.firmware("2.0.0");
    const pid = await startOther();
    const refused = await hublink(["apply", v2.path, "--config", config]);
    assert.equal(refused.code, 1);
    assert.equal(refused.stderr, `hublink: another program writes to the device: fwup (pid ${pid})\n`);
    other?.kill("SIGKILL");
    await eventually(() => other?.signalCode !== null, "the other's end");
    const reading = openSync(board.disk, "r");
    other = spawn("sleep", ["1000"], { stdio: [reading, "ignore", "ignore"] });
    closeSync(reading);
    assert.equal((await hublink(["apply", v2.path, "--config", config])).code, 0);
  });
});
