/** `hublink run`: signals, a changed configuration, and its place on the control socket. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, it } from "node:test";
import { holdAfter } from "../agent/held-download.ts";
import { IDENTIFIER, setUpBoard, type TestBoard, type TestBoardOptions } from "../agent/board.ts";
import { resetAfter } from "../hub/faults.ts";
import { cannotUnshare } from "../namespaces.ts";
import { end, hublink, startDaemon, type Program } from "./program.ts";

/** Keeps tests from rebooting this machine: in here, an empty file is in the place of the kernel's sysrq trigger. */
const withoutSysrq = [
  ...["unshare", "--mount", "sh", "-ec"],
  'if [ -e /proc/sysrq-trigger ]; then mount --bind /dev/null /proc/sysrq-trigger; fi; exec "$@"',
  "sh",
];
const cannotHideSysrq = cannotUnshare(...withoutSysrq.slice(1), "true");

describe("hublink run", () => {
  let board: TestBoard;
  let config: string;
  let daemon: Program | undefined;
  const setUp = async (options?: TestBoardOptions): Promise<Program> => {
    board = await setUpBoard(options);
    config = await board.writeConfig();
    daemon = await startDaemon(config);
    await daemon.logged(/joined the hub/);
    return daemon;
  };
  /** Starts an update whose download hangs after fwup has the first part of 1 MiB. */
  const setUpUpdating = async (): Promise<Program> => {
    const running = await setUp();
    const v2 = await board.firmware("2.0.0");
    const download = holdAfter(1_500_000);
    board.hub.faults.add(download);
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    await download.held;
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "fwup_progress");
    return running;
  };
  afterEach(async () => {
    await end(daemon);
    await board.remove();
  });
  const device = () => board.hub.device(IDENTIFIER);
  const events = (): unknown[] => device().received.map(({ event }) => event);

  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it(`stops cleanly on ${signal}: leaves the channel, closes with 1000, exits with 0`, async () => {
      const { child, ended } = await setUp();
      child.kill(signal);
      const { code } = await ended;
      assert.equal(code, 0);
      await board.hub.until(() => device().closes.length === 1);
      assert.deepEqual(device().closes, [1000]);
      assert.equal(events().at(-1), "phx_leave");
      assert.ok(!existsSync(join(board.dir, "hublink.sock")));
    });
  }

  it("stops in the middle of an update without reporting a failure to the hub", async () => {
    const { child, ended } = await setUpUpdating();
    child.kill("SIGTERM");
    assert.equal((await ended).code, 0);
    await board.hub.until(() => device().closes.length === 1);
    assert.deepEqual(device().closes, [1000]);
    assert.deepEqual(
      device().statuses.map(({ status }) => status),
      ["received", "started"],
    );
    assert.equal((await board.environment()).get("nerves_fw_active"), "a");
  });

  it("stops while a new configuration waits for the end of an update", async () => {
    const { child, ended, logged } = await setUpUpdating();
    child.kill("SIGHUP");
    await logged(/the configuration is read anew/);
    child.kill("SIGTERM");
    assert.equal((await ended).code, 0);
    assert.equal(device().connections, 1);
  });

  it("connects again when no method to reboot has worked", { skip: cannotHideSysrq }, async () => {
    board = await setUpBoard();
    config = await board.writeConfig({
      reboot: { command: "exit 1", escalate_s: 0.1 },
      console: { enabled: true },
    });
    daemon = await startDaemon(config, { within: withoutSysrq });
    const consoles = (): number =>
      device().received.filter(({ topic, event }) => topic === "console" && event === "phx_join").length;
    await board.hub.until(() => consoles() === 1);
    board.hub.reboot(IDENTIFIER);
    await daemon.logged(/the board is still up after every way to reboot it; cut its power/);
    await board.hub.until(() => consoles() === 2);
    board.hub.send(IDENTIFIER, "console", "dn", { data: "echo $((6 * 7))\r" });
    const shows42 = (): boolean =>
      device().received.some(({ event, payload }) => event === "up" && /42/.test(JSON.stringify(payload)));
    await board.hub.until(shows42);
  });

  it("uses the new configuration after SIGHUP", async () => {
    const { child, logged } = await setUp();
    await board.writeConfig({ log: { format: "json" } });
    child.kill("SIGHUP");
    const line = await logged(/^\{.*"hublink started"/);
    assert.equal((JSON.parse(line) as { readonly identifier: string }).identifier, IDENTIFIER);
    await board.hub.until(() => device().connections === 2 && device().online);
    assert.deepEqual(device().closes, [1000]);
  });

  it("refuses a bad configuration after SIGHUP and keeps the old one", async () => {
    const { child, logged, ended } = await setUp();
    await board.writeConfig({ update: { mode: "never" } });
    child.kill("SIGHUP");
    await logged(/level=error .*the new configuration is refused, the old one stays: .*update\.mode/);
    const { code } = await hublink(["status", "--config", config], { env: { HUBLINK_UPDATE__MODE: "auto" } });
    assert.equal(code, 0);
    assert.equal(device().connections, 1);
    child.kill("SIGTERM");
    assert.equal((await ended).code, 0);
  });

  it("returns to the old configuration when the new one can't be used", async () => {
    const { child, logged } = await setUp();
    await board.writeConfig({ hub: { ca_file: "/missing" } });
    child.kill("SIGHUP");
    await logged(/level=error .*the new configuration can't be used, back to the old one: .*\/missing/);
    await board.hub.until(() => device().connections === 2 && device().online);
  });

  it("refuses to run twice, with 69", async () => {
    await setUp();
    const { code, stderr } = await hublink(["run", "--config", config]);
    assert.equal(code, 69);
    assert.match(stderr, /^hublink: another hublink already listens on .*hublink\.sock; stop it first$/m);
    assert.equal(device().connections, 1);
  });

  it("replaces the socket that a killed daemon left", async () => {
    await end(await setUp());
    assert.ok((await stat(join(board.dir, "hublink.sock"))).isSocket());
    daemon = await startDaemon(config);
    assert.equal((await hublink(["status", "--config", config])).code, 0);
  });

  it("does not replace a file at the socket's path, and exits with 78", async () => {
    board = await setUpBoard();
    config = await board.writeConfig();
    const path = join(board.dir, "hublink.sock");
    await writeFile(path, "precious");
    const { code, stderr } = await hublink(["run", "--config", config]);
    assert.equal(code, 78);
    assert.match(
      stderr,
      /^hublink: state\.control_socket: .*hublink\.sock is a file of another kind, not a socket; .+$/m,
    );
    assert.equal(await readFile(path, "utf8"), "precious");
  });

  it("logs in logfmt without a terminal, warnings included", async () => {
    const { child, ended } = await setUp({ config: { hub: { heartbeat_s: 3600 } } });
    child.kill("SIGTERM");
    const { stderr } = await ended;
    assert.match(stderr, /^ts=\S+ level=warn scope=hublink msg="hub\.heartbeat_s = 3600: /m);
    for (const line of stderr.trimEnd().split("\n"))
      assert.match(line, /^ts=\S+Z level=\w+ scope=\w+ msg="/, line);
  });

  it("never logs the query of a signed URL or a key, and never shows them in the status", async () => {
    const tokens: string[] = [];
    const { child, ended } = await setUp({
      config: { log: { level: "debug" } },
      hub: {
        onEvent(event) {
          if (event.kind !== "sent") return;
          tokens.push(...(JSON.stringify(event.frame).match(/(?<=token=)\w+/g) ?? []));
        },
      },
    });
    const v2 = await board.firmware("2.0.0");
    board.hub.faults.add(resetAfter(200_000), 2);
    board.hub.deploy(await board.hub.publish(v2.path, v2.meta));
    await board.hub.waitFor(IDENTIFIER, ({ event }) => event === "rebooting");
    await board.untilRebooted(1);
    const status = await hublink(["status", "--json", "--config", config]);
    assert.match(status.stdout, /"last_update": \{/);
    child.kill("SIGTERM");
    const { stderr } = await ended;
    assert.match(stderr, /download interrupted/);
    assert.ok(tokens.length > 0);
    for (const secret of [...tokens, "token=", "PRIVATE KEY"]) {
      assert.ok(!stderr.includes(secret), `the log holds ${secret}`);
      assert.ok(!status.stdout.includes(secret), `the status holds ${secret}`);
    }
  });
});
