import assert from "node:assert/strict";
import { chmod, copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setUpBoard, type TestBoard } from "../agent/board.ts";
import { hublink, type Ended } from "./program.ts";

describe("hublink check", () => {
  let board: TestBoard;
  let config: string;
  before(async () => {
    board = await setUpBoard();
    config = await board.writeConfig();
  });
  after(async () => board.remove());
  const check = async (env: Readonly<Record<string, string>> = {}): Promise<Ended> =>
    hublink(["check", "--config", config], { env });

  it("shows all that a good board has", async () => {
    const { code, stdout, stderr } = await check();
    assert.equal(stderr, "");
    assert.equal(code, 0);
    for (const line of [
      `ok   configuration  ${config}`,
      /^ok {3}identity {7}board-1, file .*\.key$/,
      /^ok {3}certificate {4}CN=board-1, valid until \d{4}-\d\d-\d\d$/,
      `ok   hub            ${board.hub.url}`,
      `ok   CA             1 from ${board.certificates.caFile}`,
      /^ok {3}fwup {11}.*\d+\.\d+\.\d+$/,
      /^ok {3}ops file {7}.*ops\.fw: .*validate/,
      "ok   slots          slot a: demo-board 1.0.0 (rpi0/arm), validated",
      `ok   device         ${board.disk}`,
      "ok   public keys    none pinned; the hub's are used",
    ]) {
      const holds = (text: string): boolean => (typeof line === "string" ? text === line : line.test(text));
      assert.ok(stdout.split("\n").some(holds), `${String(line)} in\n${stdout}`);
    }
  });

  it("warns of what is set but not built yet", async () => {
    const { code, stdout } = await check({ HUBLINK_CONSOLE__ENABLED: "true" });
    assert.equal(code, 0);
    assert.match(stdout, /^warn not built yet {2}console\.enabled is set, .* no effect$/m);
  });

  it("lists every mistake of a configuration, one per line, with 78", async () => {
    const env = { HUBLINK_UPDATE__MODE: "never", HUBLINK_HUB__HEARTBEAT_S: "often" };
    const { code, stdout, stderr } = await check(env);
    assert.equal(code, 78);
    assert.equal(stdout, "");
    const lines = stderr.trimEnd().split("\n");
    assert.equal(lines.length, 3);
    assert.equal(lines[0], `hublink: configuration ${config}: 2 mistakes`);
    assert.match(lines[1] ?? "", /^ {2}hub\.heartbeat_s .*"often": expected a number of seconds/);
    assert.match(lines[2] ?? "", /^ {2}update\.mode .*"never": expected "auto"/);
  });

  it("says a single mistake in one line, with the file it is in", async () => {
    const path = join(board.dir, "broken.toml");
    await writeFile(path, "[hub]\nurl = wss://devices.example.com\n");
    const { code, stderr } = await hublink(["check", "--config", path]);
    assert.equal(code, 78);
    assert.match(stderr, /^hublink: configuration: .*broken\.toml: line 2, column \d+: .+\n$/);
  });

  const fails = (
    what: string,
    env: () => Promise<Readonly<Record<string, string>>>,
    expected: { readonly code: number; readonly line: RegExp },
  ): void => {
    it(`names ${what}, with ${expected.code}`, async () => {
      const { code, stdout, stderr } = await check(await env());
      assert.match(stdout, expected.line);
      assert.equal(stdout.match(/^FAIL/gm)?.length, 1);
      assert.match(stderr, /^hublink: [^\n]+\n$/);
      assert.equal(code, expected.code);
    });
  };
  const setting = (name: string, value: string) => async (): Promise<Readonly<Record<string, string>>> =>
    Promise.resolve({ [`HUBLINK_${name}`]: value });

  fails("a device that is missing", setting("FIRMWARE__DEVPATH", "/missing"), {
    code: 66,
    line: /^FAIL device {9}device \/missing does not exist \(see firmware\.devpath\)$/m,
  });
  fails("a device that is a folder", setting("FIRMWARE__DEVPATH", "/tmp"), {
    code: 78,
    line: /^FAIL device {9}device \/tmp is neither a block device nor a file; set firmware\.devpath$/m,
  });
  fails("a device that holds no blocks", setting("FIRMWARE__DEVPATH", "/dev/null"), {
    code: 78,
    line: /^FAIL device {9}device \/dev\/null is neither/m,
  });
  fails("a missing fw_env.config", setting("FIRMWARE__UBOOT_ENV_CONFIG", "/missing"), {
    code: 66,
    line: /^FAIL slots {10}.*\/missing does not exist; correct firmware\.uboot_env_config/m,
  });
  fails(
    "an environment that is garbage",
    async () => {
      const garbage = join(board.dir, "garbage");
      await writeFile(garbage, Buffer.alloc(0x4000, "x"));
      await writeFile(`${garbage}.config`, `${garbage} 0x0 0x2000\n`);
      return { HUBLINK_FIRMWARE__UBOOT_ENV_CONFIG: `${garbage}.config` };
    },
    { code: 74, line: /^FAIL slots {10}the U-Boot environment of .*garbage at 0x0 is damaged/m },
  );
  fails("a missing certificate", setting("IDENTITY__FILE__CERT_FILE", "/missing"), {
    code: 66,
    line: /^FAIL identity {7}certificate \/missing does not exist \(see identity\.file\)$/m,
  });
  fails(
    "a key that others can read",
    async () => {
      const key = join(board.dir, "open.key");
      await copyFile(board.certificates.devices.get("board-1")?.keyFile ?? "", key);
      await chmod(key, 0o644);
      return { HUBLINK_IDENTITY__FILE__KEY_FILE: key };
    },
    { code: 78, line: /^FAIL identity {7}key .*open\.key is open to others .*; chmod 600/m },
  );
  fails("a missing fwup", setting("FIRMWARE__FWUP", "/missing/fwup"), {
    code: 69,
    line: /^FAIL fwup {11}\/missing\/fwup: not found; install it or correct its path \(see firmware\.fwup\)$/m,
  });
  fails("an ops file that is none", setting("FIRMWARE__OPS_FILE", "/etc/passwd"), {
    code: 1,
    line: /^FAIL ops file {7}fwup: .* \(see firmware\.ops_file\)$/m,
  });
  fails("a CA file that holds no certificate", setting("HUB__CA_FILE", "/etc/passwd"), {
    code: 66,
    line: /^FAIL CA {13}certificate \/etc\/passwd: no X\.509 certificate/m,
  });

  it("goes on after a failure, and ends with the first one's exit code", async () => {
    const { code, stdout, stderr } = await check({
      HUBLINK_FIRMWARE__FWUP: "/missing/fwup",
      HUBLINK_FIRMWARE__DEVPATH: "/missing",
    });
    assert.equal(code, 69);
    assert.equal(stdout.match(/^FAIL/gm)?.length, 2);
    assert.match(stderr, /^hublink: \/missing\/fwup: not found; .* \(and 1 more\)\n$/);
  });

  const skip = process.getuid?.() === 0 ? false : "only root can become another user";
  it("names a file that its user may not read, with 77", { skip }, async () => {
    const closed = join(board.dir, "closed");
    await mkdir(closed, { mode: 0o700 });
    await copyFile(config, join(closed, "config.toml"));
    const { code, stderr } = await asNobody(board, ["check", "--config", join(closed, "config.toml")]);
    assert.equal(code, 77);
    assert.match(stderr, /^hublink: configuration .*: permission denied; run as its owner or root\n$/);
  });
});

/** Runs the bundle as a user that owns nothing. */
async function asNobody(board: TestBoard, args: readonly string[]): Promise<Ended> {
  await chmod(board.dir, 0o755);
  return hublink(args, { uid: 65534 });
}
