/** An agent that is killed in the middle of an update, as by a power cut, and what the board can do afterwards. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { IDENTIFIER, setUpBoard, type TestBoard } from "../agent/board.ts";
import { FIRMWARE_B } from "../firmware/slot-variables.ts";
import { end, hublink, startDaemon, type Program } from "./program.ts";

/** The points of an update at which the agent and fwup are killed, in order: shell code that runs in place of fwup. */
const POINTS = [
  { when: "it reads the firmware's metadata", code: 'case "$*" in *"-m "*) die ;; esac', revert: true },
  { when: "it is about to clear the slot", code: 'case "$*" in *invalidate*) die ;; esac', revert: true },
  {
    when: "it has cleared the slot",
    code: 'case "$*" in *invalidate*) fwup "$@"; die ;; esac',
    revert: false,
  },
  {
    when: "it writes",
    code: 'case "$*" in *upgrade*) head -c 1500000 | fwup "$@"; die ;; esac',
    revert: false,
  },
  {
    when: "fwup has all bytes and has not finished",
    code: 'case "$*" in *upgrade*) cat > /dev/null; die ;; esac',
    revert: false,
  },
  {
    when: "fwup has finished and nobody has noted it",
    code: 'case "$*" in *upgrade*) fwup "$@"; die ;; esac',
    revert: false,
  },
] as const;

describe("an agent that is killed when", () => {
  let board: TestBoard;
  let daemon: Program | undefined;
  afterEach(async () => {
    await end(daemon);
    await board.remove();
  });

  /** Kills the agent at a point of its first update. */
  const setUp = async (code: string, mode: string): Promise<{ uuid: string; config: string }> => {
    board = await setUpBoard();
    // The other slot held valid firmware before.
    await board.setEnvironment({ ...FIRMWARE_B, "b.nerves_fw_validated": "1" });
    const v2 = await board.firmware("2.0.0");
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta), { penaltyMs: 0 });
    const alive = join(board.dir, "alive");
    const real = board.config().firmware.fwup;
    const fwup = join(board.dir, "dying-fwup");
    const lines = [
      ...[
        "#!/bin/sh",
        `die() { rm ${alive}; kill -9 $PPID; exit 1; }`,
        `fwup() { ${real} "$@" > ${board.dir}/said; }`,
      ],
      ...[`if [ -e ${alive} ]; then`, code, "fi", `exec ${real} "$@"`, ""],
    ];
    await writeFile(alive, "");
    await writeFile(fwup, lines.join("\n"));
    await chmod(fwup, 0o755);
    const config = await board.writeConfig({
      update: { mode },
      firmware: { fwup },
      reboot: { grace_s: 0.01 },
    });
    daemon = await startDaemon(config);
    await daemon.ended;
    assert.ok(!existsSync(alive), "it was killed where it was to be");
    return { uuid: v2.uuid, config };
  };

  /** Tries `revert` on the board, and restores the disk afterwards. */
  const canRevert = async (config: string): Promise<boolean> => {
    const journal = join(board.dir, "state/journal.json");
    const disk = await readFile(board.disk);
    const noted = existsSync(journal) ? await readFile(journal) : undefined;
    const { code } = await hublink(["revert", "--config", config]);
    await writeFile(board.disk, disk);
    if (noted === undefined) await rm(journal, { force: true });
    else await writeFile(journal, noted);
    return code === 0;
  };

  for (const mode of ["stream", "cache"] as const) {
    for (const { when, code, revert } of POINTS) {
      it(`${when} leaves no half-written slot to revert to, reports the truth and completes (${mode})`, async () => {
        const { uuid, config } = await setUp(code, mode);
        assert.equal(await canRevert(config), revert);
        daemon = await startDaemon(config);
        await board.untilRebooted(1);
        const device = board.hub.device(IDENTIFIER);
        const environment = await board.environment();
        assert.equal(environment.get("nerves_fw_active"), "b");
        assert.equal(environment.get("nerves_fw_validated"), "0");
        assert.equal(environment.get("b.nerves_fw_uuid"), uuid);
        // The grace period is short, so the board may reboot before the hub has the report.
        await board.hub.until(() => device.statuses.at(-1)?.status === "completed");
        const joins = device.joins as readonly Record<string, unknown>[];
        for (const join of joins) {
          assert.equal(join["nerves_fw_uuid"], board.v1.uuid);
          assert.deepEqual(join["meta"], { firmware_validated: true, firmware_auto_revert_detected: false });
        }
      });
    }
  }
});
