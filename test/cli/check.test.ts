/** `hublink check`: what it shows of a good board, and what it finds wrong with a bad one. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, copyFile, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setUpBoard, type TestBoard } from "../agent/board.ts";
import { scriptedFwup } from "../firmware/fwups.ts";
import { hublink, type Ended } from "./program.ts";

interface CheckJson {
  readonly ok: boolean;
  readonly findings: readonly {
    readonly mark: string;
    readonly subject: string;
    readonly text: string;
    readonly setting: string | null;
    readonly failure: string | null;
  }[];
}

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

  it("shows every part of a good board", async () => {
    const { code, stdout, stderr } = await check();
    assert.equal(stderr, "");
    assert.equal(code, 0);
    for (const line of [
      `ok   configuration  ${config}`,
      /^ok {3}identity {7}board-1, file .*\.key$/,
      /^ok {3}certificate {4}CN=board-1, valid until \d{4}-\d\d-\d\d$/,
      `ok   hub            ${board.hub.url}`,
      `ok   CA             1 from ${board.certificates.caFile}`,
      /^ok {3}CA, downloads {2}\d+ from /,
      /^ok {3}fwup {11}.*\d+\.\d+\.\d+$/,
      /^ok {3}ops file {7}.*ops\.fw: .*validate/,
      "ok   slots          slot a: demo-board 1.0.0 (rpi0/arm), validated",
      `ok   device         ${board.disk}`,
      "ok   public keys    none pinned; the hub's are used",
      "ok   console        off",
      "ok   scripts        off",
    ]) {
      const holds = (text: string): boolean => (typeof line === "string" ? text === line : line.test(text));
      assert.ok(stdout.split("\n").some(holds), `${String(line)} in\n${stdout}`);
    }
  });

  it("shows whether an update is streamed or cached, its rate limit, and the room for it", async () => {
    const streamed = await check({ HUBLINK_UPDATE__RATE_LIMIT_KIB_S: "20" });
    assert.match(streamed.stdout, /^ok {3}updates {8}streamed; a restart of the board starts them over$/m);
    assert.match(streamed.stdout, /^ok {3}downloads {6}at 20 KiB\/s at most$/m);
    const folder = join(board.dir, "not", "made", "yet");
    const cached = await check({ HUBLINK_UPDATE__MODE: "cache", HUBLINK_UPDATE__CACHE_DIR: folder });
    assert.match(cached.stdout, /^ok {3}updates {8}cached in \S*[^]*room for \d+ MiB/m);
    const path = join(config, "cache"); // below a file
    const none = await check({ HUBLINK_UPDATE__MODE: "auto", HUBLINK_UPDATE__CACHE_DIR: path });
    assert.equal(none.code, 0);
    assert.match(none.stdout, /^warn updates {8}streamed: \S+ can't keep the download/m);
  });

  it("shows the windows for updates with the board's own time, and who decides on updates", async () => {
    const { code, stdout } = await check({
      HUBLINK_UPDATE__WINDOW: '["00:00-12:00", "12:00-00:00"]',
      HUBLINK_APP__UPDATE: "ask",
      HUBLINK_APP__REBOOT: "never",
      TZ: "Asia/Kolkata",
    });
    assert.equal(code, 0);
    const time =
      /^ok {3}windows {8}00:00-12:00, 12:00-00:00; it is (\d\d:\d\d) here\s+\(UTC\+05:30\), so\s+open now$/m;
    assert.match(stdout, time);
    assert.match(stdout, /^ok {3}application {4}asked about updates; reboots after updates are left to it$/m);
    const now = new Date();
    const [from, to] = [2, 3].map(
      (hours) => `${String((now.getUTCHours() + hours) % 24).padStart(2, "0")}:00`,
    );
    const closed = await check({ HUBLINK_UPDATE__WINDOW: `["${from}-${to}"]`, TZ: "UTC" });
    assert.match(closed.stdout, /^ok {3}windows {8}\S+; it is \S+ here \(UTC\), so closed now$/m);
  });

  it("shows where archives are kept, which keys verify them, and which extensions are on", async () => {
    const off = await check({ HUBLINK_EXTENSIONS__HEALTH: "false" });
    assert.match(off.stdout, /^ok {3}archives {7}off\nok {3}extensions {5}off$/m);
    const dir = join(board.dir, "archives");
    const on = await check({
      HUBLINK_ARCHIVES__ENABLED: "true",
      HUBLINK_ARCHIVES__DIR: dir,
      HUBLINK_EXTENSIONS__LOGGING: "true",
    });
    assert.match(
      on.stdout,
      /^ok {3}archives {7}kept in \S*[^]*?room for \d+\s+MiB;\s+by\s+the\s+hub's\s+keys$/m,
    );
    assert.match(on.stdout, /^ok {3}extensions {5}health, logging$/m);
    const refused = await check({
      HUBLINK_ARCHIVES__ENABLED: "true",
      HUBLINK_FIRMWARE__TRUST_HUB_KEYS: "false",
    });
    assert.match(refused.stdout, /^warn archives {7}no key pinned, [^]*every\s+one\s+will\s+be\s+refused$/m);
    const full = await check({
      HUBLINK_ARCHIVES__ENABLED: "true",
      HUBLINK_ARCHIVES__DIR: join(config, "archives"), // below a file
    });
    assert.match(full.stdout, /^warn archives {7}none can be kept: [^]*\(see\s+archives\.dir\)$/m);
  });

  it("finds the programs of commands and does not run them", async () => {
    const ran = join(board.dir, "ran");
    const policy = join(board.dir, "policy");
    await writeFile(policy, `#!/bin/sh\ntouch ${ran}\n`, { mode: 0o755 });
    const { code, stdout } = await check({
      HUBLINK_UPDATE__POLICY_COMMAND: `${policy} --quiet`,
      HUBLINK_VALIDATION__COMMAND: "test -e /",
      HUBLINK_REBOOT__COMMAND: '[ "$A" ] && reboot',
      HUBLINK_LOGGING__COMMAND: "/missing/logread", // not used: the extension is off
    });
    assert.equal(code, 0);
    assert.match(stdout, /^ok {3}command {8}update\.policy_command:\s+\S+\/policy$/m);
    assert.match(stdout, /^ok {3}command {8}validation\.command: test$/m);
    assert.match(stdout, /^ok {3}command {8}reboot\.command: \[ "\$A" \] && reboot$/m);
    assert.doesNotMatch(stdout, /logread/);
    assert.equal(existsSync(ran), false);
  });

  it("shows no argument of a command, and no variable set for it: they may be secret", async () => {
    const { code, stdout } = await check({
      HUBLINK_UPDATE__POLICY_COMMAND: "TOKEN=hush1 test --password hush2",
      HUBLINK_VALIDATION__COMMAND: "if [ -f /hush3 ]; then A=hush4 curl -u me:hush5 'a; hush6'; fi",
    });
    assert.equal(code, 0);
    assert.doesNotMatch(stdout, /hush/);
    assert.match(stdout, /^ok {3}command {8}update\.policy_command: test$/m);
    assert.match(stdout, /^ok {3}command {8}validation\.command: if \[ … \]; then … curl …$/m);
  });

  it("prints with --json every finding under keys that stay, with the failure's code and its setting", async () => {
    const good = await hublink(["check", "--json", "--config", config]);
    assert.equal(good.code, 0);
    const { ok, findings } = JSON.parse(good.stdout) as CheckJson;
    assert.equal(ok, true);
    assert.deepEqual(findings[0], {
      ...{ mark: "ok", subject: "configuration", text: config },
      ...{ setting: null, failure: null },
    });
    assert.match(findings.find(({ subject }) => subject === "sha-256")?.text ?? "", /^([0-9A-F]{2}:){31}/);
    const bad = await hublink(["check", "--json", "--config", config], {
      env: { HUBLINK_FIRMWARE__FWUP: "/missing/fwup" },
    });
    assert.equal(bad.code, 69);
    assert.match(bad.stderr, /^hublink: \/missing\/fwup: not found; .+\n$/);
    const { ok: isOk, findings: found } = JSON.parse(bad.stdout) as CheckJson;
    assert.equal(isOk, false);
    const [failed, ...more] = found.filter(({ mark }) => mark === "fail");
    assert.deepEqual(more, []);
    assert.equal(failed?.failure, "fwup_missing");
    assert.equal(failed.setting, "firmware.fwup");
  });

  it("prints with --json each mistake of a configuration that can't be used", async () => {
    const env = { HUBLINK_UPDATE__MODE: "never", HUBLINK_HUB__HEARTBEAT_S: "often" };
    const { code, stdout } = await hublink(["check", "--json", "--config", config], { env });
    assert.equal(code, 78);
    const { ok, findings } = JSON.parse(stdout) as CheckJson;
    assert.equal(ok, false);
    assert.deepEqual(
      findings.map(({ failure }) => failure),
      ["config", "config"],
    );
  });

  it("shows the proxy on the way to the hub, without user and password", async () => {
    const HUBLINK_HUB__PROXY = "http://me:secret@proxy.test:3128";
    const { stdout } = await check({ HUBLINK_HUB__PROXY, NO_PROXY: "*.inside.test" });
    assert.match(
      stdout,
      /^warn configuration {2}NO_PROXY: "\*\.inside\.test" matches no host; write inside\.test/m,
    );
    assert.match(stdout, /^ok {3}proxy {10}proxy\.test:3128, to the hub$/m);
    assert.doesNotMatch(stdout, /secret/);
  });

  it("warns when flock is missing, without which two hublinks can't be kept apart", async () => {
    const bin = join(board.dir, "no-flock");
    await mkdir(bin);
    await symlink("/bin/sh", join(bin, "sh"));
    const { stdout } = await check({ PATH: bin });
    assert.match(
      stdout,
      /^warn locks {10}command flock is not on the PATH: two hublinks can't be kept apart/m,
    );
    assert.doesNotMatch((await check()).stdout, /^warn locks/m);
  });

  it("names an LED that is missing", async () => {
    const { code, stdout } = await check({ HUBLINK_IDENTIFY__LED: "nobody's" });
    assert.equal(code, 78);
    assert.match(stdout, /^FAIL LED +no LED nobody's; .+ \(see identify\.led\)$/m);
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

  it("reports a single mistake in one line, with its file", async () => {
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
    line: /^FAIL identity {7}certificate \/missing does not exist; hublink identity --csr requests one, after --generate has made the key \(see identity\.file\)$/m,
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
  it("names a certificate that has expired, with 78 and its own code", async () => {
    const { certFile, keyFile } = board.certificates.wrong.expired.device;
    const { code, stdout, stderr } = await hublink(["check", "--verbose", "--config", config], {
      env: { HUBLINK_IDENTITY__FILE__CERT_FILE: certFile, HUBLINK_IDENTITY__FILE__KEY_FILE: keyFile },
    });
    assert.match(stdout, /^FAIL certificate {4}the certificate expired at /m);
    assert.match(stderr, /^ {2}code certificate_expired, see docs\/errors\.md$/m);
    assert.equal(code, 78);
  });
  it("names a hub that this board does not trust, with 69 and its own code", async () => {
    const { code, stdout, stderr } = await hublink(["check", "--connect", "--verbose", "--config", config], {
      env: { HUBLINK_HUB__CA_FILE: board.certificates.wrong.unknownCa.server.certFile },
    });
    assert.match(stdout, /^FAIL connection {5}the hub's certificate is not signed by a CA/m);
    assert.match(stderr, /^ {2}code hub_untrusted, see docs\/errors\.md$/m);
    assert.equal(code, 69);
  });
  fails("a missing fwup", setting("FIRMWARE__FWUP", "/missing/fwup"), {
    code: 69,
    line: /^FAIL fwup {11}\/missing\/fwup: not found; install it or correct its path \(see firmware\.fwup\)$/m,
  });
  fails(
    "a fwup that can't read back what it writes",
    async () => ({
      HUBLINK_FIRMWARE__FWUP: await scriptedFwup(
        board.dir,
        `[ "$1" = --version ] && { echo 1.6.9; exit; }`,
        `exec ${board.config().firmware.fwup} "$@"`,
      ),
      HUBLINK_UPDATE__VERIFY_WRITTEN: "true",
    }),
    { code: 78, line: /^FAIL fwup {11}fwup 1\.6\.9 can't verify what it writes; 1\.7\.0 can/m },
  );
  fails("an ops file that is none", setting("FIRMWARE__OPS_FILE", "/etc/passwd"), {
    code: 1,
    line: /^FAIL ops file {7}fwup: .* \(see firmware\.ops_file\)$/m,
  });
  it("shows the user of the console's shell, and its kind of terminal", async () => {
    const { code, stdout } = await check({ HUBLINK_CONSOLE__ENABLED: "true" });
    assert.equal(code, 0);
    assert.match(
      stdout,
      /^(ok|warn) +console {8}\/bin\/sh as \S+(, by (busybox telnetd|script)$| on pipes)/m,
    );
  });
  const console = (name: string, value: string) => async (): Promise<Readonly<Record<string, string>>> =>
    Promise.resolve({ HUBLINK_CONSOLE__ENABLED: "true", [`HUBLINK_CONSOLE__${name}`]: value });
  fails("a console user who does not exist", console("USER", "no-such-user"), {
    code: 78,
    line: /^FAIL console {8}console\.user: there is no user no-such-user in /m,
  });
  fails("a shell that does not exist", console("SHELL", "/missing/sh"), {
    code: 66,
    line: /^FAIL console {8}shell \/missing\/sh does not exist \(see console\)$/m,
  });
  fails("a CA file for downloads that is missing", setting("FIRMWARE__CA_FILE", "/missing/ca.pem"), {
    code: 66,
    line: /^FAIL CA, downloads {2}CA \/missing\/ca\.pem does not exist \(see firmware\.ca_file\)/m,
  });
  fails("a CA file that holds no certificate", setting("HUB__CA_FILE", "/etc/passwd"), {
    code: 66,
    line: /^FAIL CA {13}certificate \/etc\/passwd: no X\.509 certificate/m,
  });

  fails("a policy command that is missing", setting("UPDATE__POLICY_COMMAND", "/missing/policy -q"), {
    code: 66,
    line: /^FAIL command {8}command \/missing\/policy does not exist \(see update\.policy_command\)$/m,
  });
  fails("a validation command that is not on the PATH", setting("VALIDATION__COMMAND", "no-such-check"), {
    code: 69,
    line: /^FAIL command {8}command no-such-check is not on the PATH \(see validation\.command\)$/m,
  });
  fails(
    "a command of an extension that can't be run",
    async () =>
      Promise.resolve({
        HUBLINK_EXTENSIONS__GEO: "true",
        HUBLINK_GEO__SOURCE: `command:${board.disk} --now`,
      }),
    { code: 77, line: /^FAIL command {8}command [^]*\(see\s+geo\.source\)$/m },
  );

  fails("a watchdog that is missing", setting("WATCHDOG__DEVICE", "/dev/watchdog99"), {
    code: 66,
    line: /^FAIL watchdog {7}watchdog \/dev\/watchdog99 does not exist \(see watchdog\.device\)$/m,
  });
  const reachable = existsSync("/sys/class/gpio/export") || existsSync("/usr/bin/gpioset");
  if (!reachable)
    fails("a GPIO line that can't be reached", setting("WATCHDOG__GPIO__LINE", "GPIO999"), {
      code: 69,
      line: /^FAIL GPIO watchdog {2}GPIO can't be reached: this kernel has none in sysfs/m,
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

/** Runs the bundle as a user who owns no file. */
async function asNobody(board: TestBoard, args: readonly string[]): Promise<Ended> {
  await chmod(board.dir, 0o755);
  return hublink(args, { uid: 65534 });
}
