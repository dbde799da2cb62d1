/**
 * Buildroot's package without a Buildroot: its files are complete, its scripts do what they promise, and the
 * configuration that it writes is one that hublink accepts.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import { loadConfig } from "../../src/config/load.ts";
import { eventually, inTime } from "../eventually.ts";
import { missing } from "./card.ts";

const SHELLCHECK = "shellcheck";
const ROOT = join(import.meta.dirname, "../..");
const PACKAGE = join(ROOT, "buildroot/package/hublink");
const files = execFileSync("git", ["ls-files", "buildroot"], { cwd: ROOT, encoding: "utf8" })
  .trim()
  .split("\n");
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

async function makeFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hublink-package-"));
  t.after(async () => rm(folder, { recursive: true }));
  return folder;
}

async function writeScript(path: string, ...lines: string[]): Promise<void> {
  await writeFile(path, ["#!/bin/sh", ...lines, ""].join("\n"), { mode: 0o755 });
}

describe("the Buildroot tree", () => {
  it("has shell scripts without a complaint from shellcheck", { skip: missing(SHELLCHECK) }, () => {
    const scripts = files.filter((path) => /^#!\/bin\/sh|shellcheck shell=/.test(read(path)));
    assert.ok(scripts.length > 8, scripts.join(" "));
    const { status, stdout } = spawnSync(SHELLCHECK, ["-x", ...scripts], { cwd: ROOT, encoding: "utf8" });
    assert.equal(status, 0, stdout);
  });

  it("has the version of this package, and the hash of its license", () => {
    const { version } = JSON.parse(read("package.json")) as { version: string };
    assert.match(
      read("buildroot/package/hublink/hublink.mk"),
      new RegExp(`^HUBLINK_VERSION = ${version}$`, "m"),
    );
    const hash = createHash("sha256").update(read("LICENSE")).digest("hex");
    assert.match(
      read("buildroot/package/hublink/hublink.hash"),
      new RegExp(`^sha256 {2}${hash} {2}LICENSE$`, "m"),
    );
  });

  for (const config of files.filter((path) => path.endsWith("_defconfig"))) {
    it(`${config} names files that exist`, () => {
      const paths = [...read(config).matchAll(/\$\(BR2_EXTERNAL_HUBLINK_PATH\)([^" ]*)/g)];
      assert.ok(paths.length > 5);
      for (const [, path = ""] of paths) assert.ok(existsSync(join(ROOT, "buildroot", path)), path);
    });
  }

  it("keeps no key", () => {
    assert.deepEqual(
      files.filter((path) => /\.(priv|pub|pem)$/.test(path)),
      [],
    );
  });
});

describe("the configuration that Buildroot writes", () => {
  const sources = {
    file: { CERT_FILE: "/boot/hublink/cert.pem", KEY_FILE: "/boot/hublink/key.pem" },
    "shared-secret": { SHARED_SECRET_KEY: "nhp_abc", SHARED_SECRET_FILE: "/boot/hublink/secret" },
    "uboot-env": {},
    pkcs11: {
      PKCS11_MODULE: "/usr/lib/libcryptoauth.so",
      PKCS11_URI: "pkcs11:token=agent;id=%01;type=private",
      PKCS11_PIN_FILE: "/boot/hublink/pin",
    },
    tpm2: { TPM2_KEY: "/boot/hublink/tpm2.pem", CERT_FILE: "/boot/hublink/cert.pem" },
    "rpi-otp": { CERT_FILE: "/boot/hublink/cert.pem" },
  };
  const empty = [
    ...["CERT_FILE", "KEY_FILE", "SHARED_SECRET_KEY", "SHARED_SECRET_FILE", "PKCS11_MODULE", "PKCS11_URI"],
    ...["PKCS11_PIN_FILE", "TPM2_KEY", "DEVPATH", "CONSOLE"],
  ].map((name) => [name, ""] as const);

  for (const [source, settings] of Object.entries(sources)) {
    it(`is accepted by hublink with identity.source = "${source}"`, async (t) => {
      const folder = await makeFolder(t);
      const keys = [join(folder, "a.pub"), join(folder, "b.pub")];
      const texts = [1, 2].map((byte) => Buffer.alloc(32, byte).toString("base64"));
      await writeFile(keys[0] ?? "", texts[0] ?? "");
      await writeFile(keys[1] ?? "", `${texts[1] ?? ""}\n`);
      const text = execFileSync(join(PACKAGE, "write-config"), keys, {
        encoding: "utf8",
        env: {
          ...process.env,
          ...Object.fromEntries(empty),
          HUB_URL: "wss://devices.example.com",
          IDENTITY_SOURCE: source,
          ...settings,
        },
      });
      const path = join(folder, "config.toml");
      await writeFile(path, text);
      const { config } = await loadConfig({ path, env: {} });
      assert.equal(config.hub.url, "wss://devices.example.com");
      assert.equal(config.identity.source, source);
      assert.deepEqual(config.firmware.publicKeys, texts);
      assert.equal(config.firmware.trustHubKeys, false);
      for (const value of Object.values(settings)) assert.ok(text.includes(`"${value}"`), value);
    });
  }
});

describe("the key that signs firmware", { skip: missing("fwup") }, () => {
  const signingKey = (name: string, kind: string): ReturnType<typeof spawnSync> =>
    spawnSync(join(PACKAGE, "signing-key"), [name, kind], { encoding: "utf8" });

  it("is made only at the first build, and each build warns about it", async (t) => {
    const name = join(await makeFolder(t), "keys/development");
    const first = signingKey(name, "development");
    assert.match(String(first.stderr), /DEVELOPMENT KEY/);
    const made = await readFile(`${name}.priv`, "utf8");
    assert.match(String(signingKey(name, "development").stderr), /DEVELOPMENT KEY/);
    assert.equal(await readFile(`${name}.priv`, "utf8"), made);
  });

  it("is not made when the configuration names one", async (t) => {
    const name = join(await makeFolder(t), "production");
    const { status, stderr } = signingKey(name, "given");
    assert.equal(status, 1);
    assert.match(String(stderr), /production\.priv: no such file; make a pair of keys with: fwup -g/);
    assert.equal(existsSync(`${name}.priv`), false);
  });
});

describe("the supervisor under a SysV init", () => {
  it("starts the agent again each time it ends, passes SIGHUP on, and ends it with SIGTERM", async (t) => {
    const folder = await makeFolder(t);
    const story = join(folder, "story");
    await writeFile(story, "");
    await writeScript(join(folder, "sleep"), "exit 0"); // the script waits for nothing
    await writeScript(join(folder, "logger"), "cat > /dev/null");
    await writeScript(
      join(folder, "agent"),
      `echo "$1 MALLOC_ARENA_MAX=$MALLOC_ARENA_MAX MALLOC_TRIM_THRESHOLD_=$MALLOC_TRIM_THRESHOLD_" >> ${story}`,
      `[ "$(grep -c run ${story})" -ge 3 ] || exit 78`,
      `trap 'echo hup >> ${story}' HUP`,
      `trap 'echo term >> ${story}; kill $!; exit 0' TERM`,
      `echo ready >> ${story}`,
      "while true; do /bin/sleep 60 & wait; kill $! 2> /dev/null; done",
    );
    const child = spawn(join(PACKAGE, "hublink-supervise"), {
      stdio: "ignore",
      env: {
        PATH: `${folder}:${process.env["PATH"] ?? ""}`,
        HUBLINK: join(folder, "agent"),
        HUBLINK_LOG_PIPE: join(folder, "pipe"),
        HUBLINK_STOP_S: "1000000", // the test's sleep ends at once, so 12 s would be over in a moment
      },
    });
    t.after(() => child.kill("SIGKILL"));
    const ended = once(child, "exit");
    const lines = (): string[] => readFileSync(story, "utf8").trim().split("\n");

    await eventually(() => lines().includes("ready"), "the third start");
    child.kill("SIGHUP");
    await eventually(() => lines().includes("hup"), "SIGHUP");
    child.kill("SIGTERM");
    assert.deepEqual(await inTime(ended, "the end of the agent's start script"), [0, null]);
    const [, variables = ""] =
      /^Environment=(.*)$/m.exec(readFileSync(join(PACKAGE, "hublink.service"), "utf8")) ?? [];
    assert.match(variables, /MALLOC/);
    const run = `run ${variables}`;
    assert.deepEqual(lines(), [run, run, run, "ready", "hup", "term"]);
    assert.equal(existsSync(join(folder, "pipe")), false);
  });
});
