import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { checkConfig } from "../../src/config/check.ts";
import { notBuiltYet } from "../../src/config/not-built-yet.ts";
import type { Table } from "../../src/config/table.ts";

function reported(file: Table): string[] {
  const env = { HUBLINK_HUB__URL: "wss://hub.test", ...NEEDED };
  return notBuiltYet(checkConfig(file, env, "configuration").config);
}

const NEEDED = {
  HUBLINK_IDENTITY__FILE__CERT_FILE: "/c",
  HUBLINK_IDENTITY__FILE__KEY_FILE: "/k",
};

describe("settings of features that are not built yet", () => {
  it("are not reported when nothing but the needed is set", () => assert.deepEqual(reported({}), []));

  it("are not reported when they are set to their default", () => {
    assert.deepEqual(
      reported({ extensions: { health: true }, clock: { guard: true }, update: { window: [] } }),
      [],
    );
  });

  for (const [file, path] of [
    [{ hub: { serializer: "msgpack" } }, 'hub.serializer = "msgpack"'],
    [{ hub: { proxy: "http://u:p@proxy:3128" } }, "hub.proxy"],
    [{ hub: { status_dialect: "seed" } }, 'hub.status_dialect = "seed"'],
    [{ identity: { source: "uboot-env" } }, 'identity.source = "uboot-env"'],
    [{ identity: { tls: "helper" } }, 'identity.tls = "helper"'],
    [{ identity: { tpm2: { key: "0x81000001" } } }, "identity.tpm2.key"],
    [{ update: { mode: "cache" } }, 'update.mode = "cache"'],
    [{ update: { cache_dir: "/x" } }, "update.cache_dir"],
    [{ update: { connections: 2 } }, "update.connections"],
    [{ update: { rate_limit_kib_s: 10 } }, "update.rate_limit_kib_s"],
    [{ update: { window: ["02:00-05:00"] } }, "update.window"],
    [{ update: { policy_command: "true" } }, "update.policy_command"],
    [{ update: { verify_written: true } }, "update.verify_written"],
    [{ app: { update: "ask" } }, 'app.update = "ask"'],
    [{ app: { on_timeout: "ignore" } }, "app.on_timeout"],
    [{ watchdog: { device: "/dev/watchdog" } }, "watchdog.device"],
    [{ watchdog: { gpio: { line: "17" } } }, "watchdog.gpio.line"],
    [{ connectivity: { after_s: 60 } }, "connectivity.after_s"],
    [{ console: { enabled: true } }, "console.enabled"],
    [{ scripts: { enabled: true } }, "scripts.enabled"],
    [{ archives: { enabled: true } }, "archives.enabled"],
    [{ identify: { led: "led0" } }, "identify.led"],
    [{ extensions: { geo: true } }, "extensions.geo"],
    [{ clock: { guard: false } }, "clock.guard"],
  ] as const) {
    it(`are reported: ${path}`, () => {
      const [line, ...rest] = reported(file);
      assert.ok(line?.startsWith(`${path} is `), line);
      assert.deepEqual(rest, []);
    });
  }

  it("are reported for one method of several", () => {
    const file = {
      reboot: { methods: ["gpio-watchdog", "syscall"] },
      watchdog: { gpio: { line: "17" } },
    };
    assert.match(reported(file).join(), /reboot\.methods = "gpio-watchdog" is not built yet/);
  });

  it("are not confused with those that are built", () => {
    const file = {
      hub: { heartbeat_s: 10, compress: false, server_name: "x", reconnect: { max_s: 90 } },
      identity: { tls: "direct", identifier: "x", shared_secret: { key: "k", secret_file: "/s" } },
      firmware: { devpath: "/dev/sda", trust_hub_keys: false, fwup_env: { A: "1" } },
      update: { mode: "stream", stall_s: 60, allow_downgrade: false, retry: { attempts: 3 } },
      validation: { mode: "manual", command: "true", deadline_s: 60 },
      reboot: { grace_s: 1, command: "reboot" },
      log: { level: "debug" },
      state: { dir: "/x", control_mode: "0660" },
    };
    assert.deepEqual(reported(file), []);
  });
});
