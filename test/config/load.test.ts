/** Reading the configuration's file. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { ConfigFailure } from "../../src/config/check.ts";
import { ignoredVariables } from "../../src/config/environment.ts";
import { loadConfig } from "../../src/config/load.ts";
import { Failure } from "../../src/platform/failure.ts";

const IDENTITY = '[identity.file]\ncert_file = "/c.pem"\nkey_file = "/k.pem"\n';

describe("loading the configuration", () => {
  let folder: string;
  let path: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "hublink-config-"));
    path = join(folder, "config.toml");
  });
  after(async () => rm(folder, { recursive: true }));

  const problemsOf = async (content: string | Uint8Array): Promise<readonly string[]> => {
    await writeFile(path, content);
    const failure: unknown = await loadConfig({ path, env: {} }).catch((error: unknown) => error);
    assert.ok(failure instanceof ConfigFailure, String(failure));
    return failure.problems;
  };

  it("reads values from the file and uses defaults for the rest", async () => {
    await writeFile(path, `${IDENTITY}[hub]\nurl = "wss://hub.test"\nreconnect = { max_s = 90.5 }\n`);
    const { config, warnings } = await loadConfig({ path, env: {} });
    assert.equal(config.hub.url, "wss://hub.test");
    assert.deepEqual(config.hub.reconnect, { minMs: 1000, maxMs: 90_500, spreadMs: 30_000, jitter: 1 });
    assert.equal(config.state.controlSocket, "/run/hublink.sock");
    assert.deepEqual(warnings, []);
  });

  it("names the line and column of a TOML mistake, but does not quote the line, which may hold a secret", async () => {
    const [problem, ...rest] = await problemsOf('[hub]\nproxy = "http://u:hunter2@p" oops\n');
    assert.match(problem ?? "", /config\.toml: line 2, column 30: /);
    assert.doesNotMatch(problem ?? "", /hunter2/);
    assert.deepEqual(rest, []);
  });

  it("shows how text is written where its quotes are missing, without the text itself", async () => {
    for (const [line, hint] of [
      ["url = wss://u:hunter2@hub.test", '; text stands in quotes: url = "…"'],
      ["topic = hunter2", '; text stands in quotes: topic = "…"'],
      ["proxy = “hunter2”", '; text stands in quotes: proxy = "…"'],
      ["window = [02:00-05:00, hunter2]", '; text stands in quotes: window = ["…"]'],
      ['topic = "hunter2', "; a quote is missing"],
      ['proxy = "hunter2" oops', ""],
      ["hunter2", ""],
    ] as const) {
      const [problem = ""] = await problemsOf(`[hub]\n${line}\n`);
      assert.match(problem, /config\.toml: line 2, column \d+: [a-z]/);
      assert.ok(problem.endsWith(hint), problem);
      assert.equal(problem.includes("quote"), hint !== "", problem);
      assert.doesNotMatch(problem, /hunter2/);
    }
  });

  it("keeps the quoted line out of the failure's cause as well", async () => {
    await writeFile(path, 'proxy = "http://u:hunter2@p" oops\n');
    const failure: unknown = await loadConfig({ path, env: {} }).catch((error: unknown) => error);
    assert.ok(failure instanceof Error);
    assert.equal(failure.cause, undefined);
  });

  it("refuses a file that is not UTF-8", async () => {
    assert.deepEqual(await problemsOf(Uint8Array.of(0x61, 0x3d, 0xff)), [
      `${path}: not UTF-8 text; save it as UTF-8`,
    ]);
  });

  it("accepts a file that begins with a byte order mark", async () => {
    await writeFile(
      path,
      `\uFEFF${IDENTITY}hub = { url = "hub.test" }\n`.replace(/^(.)(.*)(hub = .*\n)$/s, "$1$3$2"),
    );
    assert.equal((await loadConfig({ path, env: {} })).config.hub.url, "wss://hub.test");
  });

  it("fails with the kind no-input if the file that the user named is missing", async () => {
    await assert.rejects(
      loadConfig({ path: join(folder, "absent.toml"), env: {} }),
      (error) =>
        error instanceof Failure &&
        error.kind === "no-input" &&
        /absent\.toml does not exist/.test(error.message),
    );
  });

  const hasDefaultFile =
    existsSync("/etc/hublink/config.toml") && "this machine has a configuration of its own";

  it("needs no default file if the environment sets enough", { skip: hasDefaultFile }, async () => {
    const env = {
      HUBLINK_HUB__URL: "wss://hub.test",
      HUBLINK_IDENTITY__SOURCE: "shared-secret",
    };
    const { config } = await loadConfig({ env });
    assert.equal(config.hub.url, "wss://hub.test");
  });

  it(
    "says that there is no file, and what to start from, if neither file nor environment sets anything",
    { skip: hasDefaultFile },
    async () => {
      await assert.rejects(
        loadConfig({ env: {} }),
        (error) =>
          error instanceof ConfigFailure &&
          error.kind === "config" &&
          /config\.toml does not exist; start from config\.example\.toml, or set HUBLINK_HUB__URL/.test(
            error.message,
          ),
      );
    },
  );

  it(
    "fails with the kind permission if it may not read the file",
    { skip: process.getuid?.() === 0 && "root may read anything" },
    async () => {
      await writeFile(path, IDENTITY);
      await chmod(path, 0);
      await assert.rejects(
        loadConfig({ path, env: {} }),
        (error) => error instanceof Failure && error.kind === "permission",
      );
      await chmod(path, 0o600);
    },
  );

  it("lists all mistakes at once, one line each", async () => {
    const problems = await problemsOf(`
[hub]
url = "ftp://hub.test"
heartbeat = 30
reconnect = { min_s = 90 }

[identity]
source = "files"

[firmware]
public_keys = ["c2hvcnQ="]
task = 7

[update]
window = ["02:00-25:00"]
retry = { attempts = 0.5 }

[state]
control_mode = "0999"

[logs]
level = "info"
`);
    assert.deepEqual([...problems].sort(), [
      "firmware.public_keys[0]: expected an Ed25519 public key as fwup writes it, 32 bytes in base64",
      "firmware.task = 7: expected the name of a task",
      "hub.heartbeat: unknown key; did you mean hub.heartbeat_s?",
      "hub.reconnect.min_s = 90: expected no more than hub.reconnect.max_s, which is 60",
      'hub.url = "ftp://hub.test": expected wss://HOST, ws://HOST or a bare host name, without user, password or fragment; ftp:// can\'t be used',
      'identity.source = "files": expected "file", "env", "uboot-env", "pkcs11", "tpm2", "rpi-otp" or "shared-secret"',
      "logs: unknown key; did you mean log?",
      'state.control_mode = "0999": expected a mode in octal such as "0600", in quotes',
      "update.retry.attempts = 0.5: expected a whole number from 1 to 10000",
      'update.window[0] = "02:00-25:00": expected a time window such as "02:00-05:00"',
    ]);
  });

  it("names the variable that would turn verification off, and only when it would", () => {
    assert.match(
      ignoredVariables({ NODE_TLS_REJECT_UNAUTHORIZED: "0" }).join(),
      /certificates are always verified/,
    );
    assert.deepEqual(ignoredVariables({ NODE_TLS_REJECT_UNAUTHORIZED: "1" }), []);
    assert.deepEqual(ignoredVariables({}), []);
  });
});
