/** Words of the hub, the daemon and fwup on a terminal: shown, never obeyed. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, it } from "node:test";
import type { AgentStatus } from "../../src/control/agent-status.ts";
import { type ControlMethods, ControlServer } from "../../src/control/server.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { Failure } from "../../src/platform/failure.ts";
import { silentLog } from "../../src/platform/log.ts";
import { setUpBoard, type TestBoard } from "../agent/board.ts";
import { scriptedFwup } from "../firmware/fwups.ts";
import { hublink, type Ended } from "./program.ts";

/** Clears the screen, forges a line, starts a title in C1, and turns the rest around. */
const HOSTILE = "a\u001b[2J\r\nslot  b\u009d0;title\u0007 \u202egnp.exe\u200b";
const SHOWN = String.raw`a\x1b[2J\r\nslot  b\x9d0;title\x07 \u202egnp.exe\u200b`;

/** All but printable characters and line ends. */
const OBEYED = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b\u202e]/;

const STATUS: AgentStatus = {
  connection: "disconnected",
  identifier: HOSTILE,
  update_tool: "fwup",
  firmware: { uuid: HOSTILE, version: HOSTILE, product: HOSTILE, platform: HOSTILE, architecture: HOSTILE },
  update: { uuid: HOSTILE, stage: HOSTILE, percent: 5, waiting: { reason: HOSTILE, for_s: 1 } },
  update_mode: { mode: "automatic", managed_updates_allowed: false },
  pending_validation: false,
  pending_reboot: null,
  agent_version: HOSTILE,
  hub: HOSTILE,
  serializer: "json",
  joined: false,
  extensions: [HOSTILE],
  extension_states: [{ name: HOSTILE, state: "attached", version: HOSTILE }],
  last_error: HOSTILE,
  next_attempt_s: null,
  away_s: 3725,
  identity: {
    source: HOSTILE,
    warnings: [HOSTILE],
    certificate: { subject: HOSTILE, not_before: HOSTILE, not_after: HOSTILE, sha256: HOSTILE },
  },
  slot: HOSTILE,
  devpath: HOSTILE,
  fwup_version: HOSTILE,
  auto_revert_detected: false,
  boots_next: HOSTILE,
  other_firmware: {
    uuid: HOSTILE,
    version: HOSTILE,
    product: HOSTILE,
    platform: HOSTILE,
    architecture: HOSTILE,
  },
  rebooting: { reason: HOSTILE, method: HOSTILE, failed: false },
  last_update: { uuid: HOSTILE, status: HOSTILE, reason: HOSTILE, failure: null },
  watchdogs: [HOSTILE],
  watchdogs_starving: HOSTILE,
  last_reboot: { reason: HOSTILE, method: HOSTILE, at: HOSTILE },
  uptime_s: 1,
  rss_mib: 1,
  console: null,
  archive: { uuid: HOSTILE, version: HOSTILE, state: "failed", reason: HOSTILE },
};

describe("hostile words", () => {
  let board: TestBoard;
  let config: string;
  let server: ControlServer | undefined;
  before(async () => {
    board = await setUpBoard();
    config = await board.writeConfig();
  });
  afterEach(async () => {
    await server?.stop();
    server = undefined;
  });
  after(async () => board.remove());
  const command = async (args: readonly string[], fwup?: string): Promise<Ended> => {
    const env = fwup === undefined ? {} : { HUBLINK_FIRMWARE__FWUP: fwup };
    const ended = await hublink([...args, "--config", config], { env });
    assert.doesNotMatch(ended.stdout, OBEYED);
    assert.doesNotMatch(ended.stderr, OBEYED);
    assert.doesNotMatch(ended.stdout + ended.stderr, /^slot {2}b/m, "a line is forged");
    return ended;
  };
  const daemon = async (methods: ControlMethods): Promise<void> => {
    const { controlSocket: path } = board.config().state;
    const options = { path, mode: 0o600, group: "", agentVersion: "1", clock: systemClock, log: silentLog };
    server = new ControlServer(options);
    await server.start(methods);
  };

  it("are visible in each row of the status", async () => {
    await daemon({ status: () => STATUS });
    const { stdout, code } = await command(["status"]);
    assert.equal(code, 0);
    assert.ok(stdout.includes(`identifier   ${SHOWN}\n`), stdout);
    assert.ok(stdout.includes(`last error   ${SHOWN}\n`), stdout);
    assert.match(stdout, /^ +away for 1 h 02 m$/m);
  });

  it("are the same words when the status is read as JSON", async () => {
    await daemon({ status: () => STATUS });
    const { stdout } = await command(["status", "--json"]);
    assert.deepEqual(JSON.parse(stdout), STATUS);
  });

  it("are visible in an error that the daemon answers with, and in its stack", async () => {
    await daemon({
      apply() {
        throw new Failure("failed", HOSTILE);
      },
    });
    const { stderr, code } = await command(["apply", board.v1.path]);
    assert.equal(code, 1);
    assert.ok(stderr.startsWith("hublink: a\\x1b[2J; slot  b\\x9d0;title\\x07"), stderr);
    assert.ok(
      (await hublink(["apply", board.v1.path, "--verbose", "--config", config])).stderr.includes("\\x9d"),
    );
  });

  it("are visible in the name of what was installed", async () => {
    await daemon({ apply: () => ({ firmware: { uuid: "u", version: HOSTILE } }) });
    const { stdout } = await command(["apply", board.v1.path]);
    assert.ok(stdout.includes(`installed ${SHOWN} (u)`), stdout);
  });

  it("of fwup are visible in check and in metadata", async () => {
    const bytes = [...Buffer.from(HOSTILE)].map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
    const broken = await scriptedFwup(board.dir, `printf 'fwup: ${bytes}\\n' >&2`, "exit 1");
    assert.match((await command(["check"], broken)).stdout, /^FAIL fwup .*\\x9d0;title\\x07 \\u202egnp/m);
    const meta = `printf 'meta-uuid="u"\\nmeta-product="${bytes}"\\n'`;
    const { stdout } = await command(["metadata", board.v1.path], await scriptedFwup(board.dir, meta));
    assert.ok(stdout.includes(`product  ${SHOWN}\n`), stdout);
  });

  it("of a file's metadata are cut, for people and in JSON", async () => {
    const meta = `printf 'meta-uuid=u\nmeta-misc=%05000d\n' 7`;
    const fwup = await scriptedFwup(board.dir, meta);
    const shown = `${"0".repeat(1023)}…`;
    assert.ok((await command(["metadata", board.v1.path], fwup)).stdout.endsWith(`misc  ${shown}\n`));
    const json = await command(["metadata", "--json", board.v1.path], fwup);
    assert.equal((JSON.parse(json.stdout) as { misc: string }).misc, shown);
  });
});
