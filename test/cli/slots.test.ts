/** The short commands, without a daemon and with one. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { join } from "node:path";
import { AgentStatus } from "../../src/control/agent-status.ts";
import { openJournal } from "../../src/firmware/journal.ts";
import { silentLog } from "../../src/platform/log.ts";
import * as v from "valibot";
import { IDENTIFIER, setUpBoard, type TestBoard } from "../agent/board.ts";
import { holdAfter } from "../agent/held-download.ts";
import { end, hublink, startDaemon, type Ended, type Program } from "./program.ts";

describe("commands without a daemon", () => {
  let board: TestBoard;
  let config: string;
  before(async () => {
    board = await setUpBoard();
    config = await board.writeConfig({ firmware: { public_keys: [board.signingKey.publicKeyBase64] } });
  });
  after(async () => board.remove());
  const command = async (...args: string[]): Promise<Ended> => hublink([...args, "--config", config]);

  for (const name of ["status", "reboot"]) {
    it(`${name} names the socket on which nothing listens, with 69`, async () => {
      const { code, stdout, stderr } = await command(name);
      assert.equal(code, 69);
      assert.equal(stdout, "");
      assert.match(stderr, /^hublink: no daemon listens on .*hublink\.sock; .+\n$/);
    });
  }

  it("validate marks the running slot good, and revert activates the other one", async () => {
    const v2 = await board.firmware("2.0.0");
    assert.equal((await command("apply", v2.path)).code, 0);
    assert.equal((await board.environment()).get("nerves_fw_validated"), "0");
    // Not an image file, so to the command it is a real disk, which the kernel may have booted from.
    const env = { HUBLINK_FIRMWARE__DEVPATH: "/dev/null" };
    for (const name of ["validate", "revert"]) {
      const { code, stderr } = await hublink([name, "--config", config], { env });
      assert.deepEqual(
        [code, stderr],
        [69, "hublink: an installed update waits for its reboot; reboot first\n"],
      );
    }

    const validated = await command("validate");
    assert.equal(validated.stderr, "");
    assert.equal(validated.stdout, "the running slot is marked good\n");
    assert.equal((await board.environment()).get("nerves_fw_validated"), "1");

    // The next update goes to slot a, so that slot b can be reverted to.
    const v3 = await board.firmware("3.0.0");
    assert.equal((await command("apply", v3.path)).code, 0);
    const reverted = await command("revert");
    assert.equal(reverted.stderr, "");
    assert.equal(reverted.stdout, "the other slot is the one to boot now; hublink reboot starts it\n");
    assert.equal((await board.environment()).get("nerves_fw_active"), "b");
  });

  it("revert refuses a slot in which an update was not finished, whatever the environment says of it", async () => {
    const other = await setUpBoard();
    try {
      const path = await other.writeConfig({ firmware: { public_keys: [other.signingKey.publicKeyBase64] } });
      const here = async (...args: string[]): Promise<Ended> => hublink([...args, "--config", path]);
      assert.equal((await here("apply", (await other.firmware("2.0.0")).path)).code, 0);
      assert.equal((await here("validate")).code, 0);
      const journal = await openJournal(join(other.dir, "state"), silentLog);
      const writing = { fromSlot: "b", bootId: "", rebootAsked: false, origin: "hub", atMs: 0 } as const;
      await journal.update({ writing: { uuid: other.v1.uuid, ...writing } });
      const { code, stderr } = await here("revert");
      assert.equal(code, 69);
      assert.equal(
        stderr,
        "hublink: slot a holds an update that was not finished; install an update instead\n",
      );
      assert.equal((await other.environment()).get("nerves_fw_active"), "b");
      await journal.update({ writing: null });
      assert.equal((await here("revert")).stderr, "");
      assert.equal((await other.environment()).get("nerves_fw_active"), "a");
    } finally {
      await other.remove();
    }
  });

  it("metadata prints a firmware's metadata and needs no configuration", async () => {
    const v2 = await board.firmware("2.0.0");
    const { code, stdout, stderr } = await hublink(["metadata", v2.path], {
      env: { HUBLINK_FIRMWARE__FWUP: board.config().firmware.fwup },
    });
    assert.equal(stderr, "");
    assert.equal(code, 0);
    for (const line of [`uuid            ${v2.uuid}`, "product         demo-board", "version         2.0.0"])
      assert.ok(stdout.split("\n").includes(line), stdout);
  });

  it("metadata names a missing file, and one that is not firmware", async () => {
    const missing = await command("metadata", "/missing.fw");
    assert.equal(missing.code, 66);
    assert.equal(missing.stderr, "hublink: firmware /missing.fw does not exist\n");
    const other = await command("metadata", "/etc/passwd");
    assert.equal(other.code, 1);
    assert.match(other.stderr, /^hublink: fwup: .+; firmware \/etc\/passwd is not a \.fw file, .+\n$/);
    const env = { HUBLINK_FIRMWARE__FWUP: "/missing/fwup" };
    const none = await hublink(["metadata", board.v1.path, "--config", config], { env });
    assert.equal(none.code, 69);
    assert.match(none.stderr, /^hublink: \/missing\/fwup: not found; .+ \(see firmware\.fwup\)\n$/);
  });

  it("metadata --json prints each value under a key that stays, null where the firmware has none", async () => {
    const { code, stdout } = await command("metadata", board.v1.path, "--json");
    assert.equal(code, 0);
    const value = JSON.parse(stdout) as Record<string, string | null>;
    assert.deepEqual(Object.keys(value), [
      ...["uuid", "product", "version", "platform", "architecture", "author", "description"],
      ...["vcs_identifier", "misc", "creation_date"],
    ]);
    assert.equal(value["uuid"], board.v1.uuid);
    assert.equal(value["version"], "1.0.0");
    assert.equal(value["misc"], null);
  });

  it("identity prints the board's identifier and its certificate", async () => {
    const { code, stdout } = await command("identity");
    assert.equal(code, 0);
    assert.match(stdout, /^identifier {3}board-1$/m);
    assert.match(stdout, /^source {7}file .*\.key$/m);
    assert.match(stdout, /^valid until {2}\d{4}-\d\d-\d\dT/m);
    assert.match(stdout, /^sha-256 {6}([0-9A-F]{2}:){31}[0-9A-F]{2}$/m);
    assert.doesNotMatch(stdout, /PRIVATE/);
  });
});

describe("commands with a daemon", () => {
  let board: TestBoard;
  let config: string;
  let daemon: Program;
  beforeEach(async () => {
    board = await setUpBoard();
    config = await board.writeConfig();
    daemon = await startDaemon(config);
    await daemon.logged(/joined the hub/);
  });
  afterEach(async () => {
    await end(daemon);
    await board.remove();
  });
  const command = async (...args: string[]): Promise<Ended> => hublink([...args, "--config", config]);

  it("status shows the state of the board", async () => {
    const { code, stdout, stderr } = await command("status");
    assert.equal(stderr, "");
    assert.equal(code, 0);
    for (const line of [
      /^agent {7}hublink \S+, up \d+ s, \d+ MiB$/m,
      /^identifier {2}board-1$/m,
      /^hub {9}localhost:\d+: connected, joined, json$/m,
      /^firmware {4}demo-board 1\.0\.0$/m,
      /^slot {8}a of .*disk\.img, validated$/m,
      /^update {6}none$/m,
    ])
      assert.match(stdout, line);
  });

  it("status --json prints the daemon's answer", async () => {
    const { code, stdout } = await command("status", "--json");
    assert.equal(code, 0);
    const status = v.parse(AgentStatus, JSON.parse(stdout));
    assert.equal(status.connection, "connected");
    assert.equal(status.identifier, IDENTIFIER);
    assert.equal(status.firmware?.uuid, board.v1.uuid);
  });

  it("validate and revert are answered by the daemon", async () => {
    assert.equal((await command("validate")).stdout, "the running slot is marked good\n");
    const { code, stderr } = await command("revert");
    assert.equal(code, 69);
    assert.match(stderr, /^hublink: slot b holds no valid firmware to revert to .*\n$/);
  });

  it("status shows after revert which firmware is in the other slot, and that it boots next; then the reboot", async () => {
    await board.setEnvironment({
      "b.nerves_fw_uuid": "u0",
      "b.nerves_fw_product": "demo-board",
      "b.nerves_fw_version": "0.9.0",
      "b.nerves_fw_platform": "rpi0",
      "b.nerves_fw_architecture": "arm",
    });
    assert.equal((await command("revert")).code, 0);
    const { stdout } = await command("status");
    assert.match(stdout, /^other slot {2}demo-board 0\.9\.0\n {12}b boots next: hublink reboot starts it$/m);
    await command("reboot");
    await board.untilRebooted(1);
    assert.match((await command("status")).stdout, /^reboot {6}under way by echo x .*: hublink reboot$/m);
  });

  it("reboot says that it waits for the update under way", async () => {
    const v2 = await board.firmware("2.0.0");
    const hold = holdAfter(1_500_000);
    board.hub.faults.add(hold, 1);
    board.hub.pushUpdate(IDENTIFIER, await board.hub.publish(v2.path, v2.meta));
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "fwup_progress");
    const { code, stdout } = await command("reboot");
    assert.equal(code, 0);
    assert.equal(
      stdout,
      "an update is under way; the board reboots when it has ended, as `hublink status` shows\n",
    );
    hold.goOn();
    await board.untilRebooted(1);
  });

  it("reboot reports to the hub and runs the configured command", async () => {
    const { code, stdout } = await command("reboot");
    assert.equal(code, 0);
    assert.equal(stdout, "the board is rebooting\n");
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "rebooting");
    await board.untilRebooted(1);
  });

  it("validate fails when the slots can't be read", async () => {
    await end(daemon);
    config = await board.writeConfig({ firmware: { uboot_env_config: "/missing" } });
    daemon = await startDaemon(config);
    const { code, stderr } = await command("validate");
    assert.equal(code, 66);
    assert.match(stderr, /^hublink: .*\/missing does not exist.*\n$/);
  });
});
