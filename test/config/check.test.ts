/** The check of the configuration: which values it accepts, and the words of its reports. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { checkConfig, type Checked, ConfigFailure, defaultConfig } from "../../src/config/check.ts";
import { schema } from "../../src/config/schema.ts";
import { isSection, isTable, isTableList, type Section, type Table } from "../../src/config/setting.ts";
import { defaultTable } from "./default-table.ts";

/** The least that a configuration needs; each test adds to it. */
const NEEDED = { HUBLINK_HUB__URL: "wss://hub.test", HUBLINK_IDENTITY__SOURCE: "shared-secret" };

function check(file: Table, env: Readonly<Record<string, string>> = NEEDED): Checked {
  return checkConfig(file, env, "configuration");
}

function problemsOf(file: Table, env: Readonly<Record<string, string>> = NEEDED): readonly string[] {
  try {
    check(file, env);
  } catch (error) {
    if (error instanceof ConfigFailure) return error.problems;
    throw error;
  }
  return [];
}

function withUrl(url: string): Checked {
  return check({ hub: { url }, identity: { source: "shared-secret" } }, {});
}

describe("an unknown key", () => {
  for (const [file, line] of [
    [{ hub: { heartbeat: 5 } }, "hub.heartbeat: unknown key; did you mean hub.heartbeat_s?"],
    [{ LOG: {} }, "LOG: unknown key; did you mean log?"],
    [{ hbu: {} }, "hbu: unknown key; did you mean hub?"],
    [
      { update: { retry: { delay: 5 } } },
      "update.retry.delay: unknown key; did you mean update.retry.delay_s?",
    ],
    // This key exists, but in another section.
    [{ heartbeat_s: 5 }, "heartbeat_s: unknown key; did you mean hub.heartbeat_s?"],
    [
      { identity: { cert_file: "/c" } },
      "identity.cert_file: unknown key; did you mean identity.file.cert_file?",
    ],
    [{ hub: { "a\nb": 5 } }, 'hub."a\\nb": unknown key; did you mean hub.url?'],
    [{ ["y".repeat(90)]: 5 }, `"${"y".repeat(60)}": unknown key; did you mean identity?`],
    [{ constructor: 5 }, "constructor: unknown key; did you mean console?"],
  ] as const) {
    it(line, () => assert.deepEqual(problemsOf(file), [line]));
  }

  it("is the only mistake reported when the key that was meant is a needed one", () => {
    const file = {
      hub: { url: "hub.test" },
      identity: { file: { certfile: "/c", key_file: "/k" } },
    };
    assert.deepEqual(problemsOf(file, {}), [
      "identity.file.certfile: unknown key; did you mean identity.file.cert_file?",
    ]);
  });
});

describe("a wrong value", () => {
  for (const [file, line] of [
    [
      { hub: { heartbeat_s: "fast" } },
      'hub.heartbeat_s = "fast": expected a number of seconds from 0.01 to 3600',
    ],
    [{ hub: { heartbeat_s: 0 } }, "hub.heartbeat_s = 0: expected a number of seconds from 0.01 to 3600"],
    [
      { hub: { heartbeat_s: Infinity } },
      "hub.heartbeat_s = Infinity: expected a number of seconds from 0.01 to 3600",
    ],
    [{ hub: { heartbeat_s: NaN } }, "hub.heartbeat_s = NaN: expected a number of seconds from 0.01 to 3600"],
    [{ hub: { reconnect: { jitter: 1.5 } } }, "hub.reconnect.jitter = 1.5: expected a number from 0 to 1"],
    [{ hub: { compress: "yes" } }, 'hub.compress = "yes": expected true or false'],
    [{ hub: { topic: "" } }, 'hub.topic = "": expected a topic name'],
    [{ hub: { topic: new Date(0) } }, "hub.topic = a date: expected a topic name"],
    [{ hub: { ca_file: ["/a"] } }, "hub.ca_file = […]: expected a path"],
    [{ hub: { ca_file: "/a\0b" } }, 'hub.ca_file = "/a\\u0000b": expected a path'],
    [{ hub: { ca_file: { a: 1 } } }, "hub.ca_file = {…}: expected a path"],
    [{ hub: { serializer: "xml" } }, 'hub.serializer = "xml": expected "json" or "msgpack"'],
    [{ hub: { reconnect: 5 } }, "hub.reconnect: expected a table, [hub.reconnect]"],
    [{ app: [{}] }, "app: expected a table, [app]"],
    [{ update: { connections: 1.5 } }, "update.connections = 1.5: expected a whole number from 1 to 16"],
    [
      { reboot: { methods: [] } },
      'reboot.methods = []: expected an array, not empty, each item "gpio-watchdog" or "syscall"',
    ],
    [
      { reboot: { methods: ["syscall", "pray"] } },
      'reboot.methods[1] = "pray": expected "gpio-watchdog" or "syscall"',
    ],
    [{ firmware: { metadata: "file:" } }, 'firmware.metadata = "file:": expected "uboot-env" or "file:PATH"'],
    [{ identify: { led: "../x" } }, 'identify.led = "../x": expected the name of an LED'],
    [
      { log: { level: "x".repeat(90) } },
      `log.level = "${"x".repeat(80)}…": expected "error", "warn", "info" or "debug"`,
    ],
  ] as const) {
    it(line, () => assert.deepEqual(problemsOf(file), [line]));
  }

  it("is reported for each item of an array", () => {
    assert.equal(problemsOf({ firmware: { fwup_args: [1, "--ok", 2] } }).length, 2);
  });

  it("is a time window with an impossible time, without a length, or without an end", () => {
    for (const window of [
      "2:00-05:00",
      "02:60-05:00",
      "24:00-05:00",
      "02:00-02:00",
      "02:00",
      "02:00-05:00 ",
      "",
    ]) {
      assert.equal(problemsOf({ update: { window: [window] } }).length, 1, window);
    }
    assert.deepEqual(problemsOf({ update: { window: ["02:00-05:00", "22:30-04:00"] } }), []);
  });

  it("is a public key that is not 32 bytes of base64", () => {
    const bytes = (count: number): string => Buffer.alloc(count, 7).toString("base64");
    for (const key of ["", bytes(31), bytes(33), bytes(64), bytes(32).replace("B", "*"), ` ${bytes(32)}`]) {
      assert.equal(problemsOf({ firmware: { public_keys: [key] } }).length, 1, key);
    }
    assert.deepEqual(problemsOf({ firmware: { public_keys: [bytes(32)] } }), []);
  });

  it("is a control mode that is not octal", () => {
    for (const mode of ["0800", "rw", "06", 0o600, "00660"]) {
      assert.equal(problemsOf({ state: { control_mode: mode } }).length, 1, String(mode));
    }
    assert.deepEqual(problemsOf({ state: { control_mode: "660" } }), []);
  });

  it("is a GPIO line that names neither a number nor a chip and a number", () => {
    for (const line of ["GPIO", "a b:1", "17a", ":1"]) {
      assert.equal(problemsOf({ watchdog: { gpio: { line } } }).length, 1, line);
    }
    for (const line of ["17", "GPIO17", "pinctrl-bcm2835:17", "20200000.gpio:4"]) {
      assert.deepEqual(problemsOf({ watchdog: { gpio: { line } } }), []);
    }
  });

  it("is not shown if it may be a secret", () => {
    const secret = "hunter2";
    const problems = problemsOf(
      {
        hub: { proxy: `socks://user:${secret}@proxy`, url: `user:${secret}@hub.test`, ca_file: [secret] },
        identity: { pkcs11: { uri: `pin-value=${secret}` }, shared_secret: secret, secret },
        firmware: { public_keys: [secret], fwup_env: { KEY: [secret], "A B": secret } },
        console: { shell: { secret } },
        state: { control_mode: `https://hub.test/f?signature=${secret}` },
      },
      {},
    );
    assert.equal(problems.length, 11);
    assert.doesNotMatch(problems.join("\n"), new RegExp(secret));
  });
});

describe("the hub's address", () => {
  for (const [given, url] of [
    ["wss://hub.test", "wss://hub.test"],
    ["hub.test", "wss://hub.test"],
    ["hub.test:4001", "wss://hub.test:4001"],
    ["https://Hub.Test/", "wss://hub.test"],
    ["http://localhost:4000", "ws://localhost:4000"],
    ["wss://hub.test/socket/websocket?x=1", "wss://hub.test/socket/websocket?x=1"],
    ["[::1]:4000/path", "wss://[::1]:4000/path"],
  ] as const) {
    it(`${given} means ${url}`, () => assert.equal(withUrl(given).config.hub.url, url));
  }

  for (const [given, words] of [
    ["wss:/hub.test", "a slash is missing after wss:, write wss://"],
    ["http//hub.test", "the colon is missing after http, write http://"],
    ["ftp://hub.test", "ftp:// can't be used"],
  ] as const) {
    it(`${given} is a typo, and not the name of a host`, () => {
      const problems = problemsOf({ hub: { url: given }, identity: { source: "shared-secret" } }, {});
      assert.ok(problems.join().endsWith(`; ${words}`), problems.join());
    });
  }

  for (const url of [
    "ftp://hub.test",
    "wss://",
    "wss://hub test",
    " hub.test",
    "wss://hub.te\tst",
    "wss://u:p@hub.test",
    "wss://hub.test/#top",
    "hub.test:port",
  ]) {
    it(`is refused when it is ${url}`, () => assert.throws(() => withUrl(url), /hub\.url.*: expected wss:/));
  }

  it("causes a warning when it is unencrypted and not on the board itself", () => {
    const [warning, ...rest] = withUrl("ws://192.168.1.5:4000").warnings;
    assert.match(warning ?? "", /^hub\.url: ws:\/\/192\.168\.1\.5:4000 is not encrypted/);
    assert.deepEqual(rest, []);
    assert.equal(withUrl("ws://localhost.evil.test").warnings.length, 1);
    assert.equal(withUrl("ws://127.evil.test").warnings.length, 1);
  });

  it("may be unencrypted on the board itself, without a warning", () => {
    for (const host of ["localhost:4000", "127.0.0.1", "127.1.2.3:80", "[::1]:4000"]) {
      assert.deepEqual(withUrl(`ws://${host}`).warnings, []);
    }
  });
});

it("a heartbeat that is too slow for NervesHub causes a warning", () => {
  assert.match(check({ hub: { heartbeat_s: 180 } }).warnings.join(), /drops a device/);
  assert.deepEqual(check({ hub: { heartbeat_s: 170 } }).warnings, []);
});

it("answers for an application that is never asked cause a warning", () => {
  const app = { on_timeout: "ignore", ask_timeout_s: 60 };
  assert.deepEqual(check({ app }).warnings, [
    'app.on_timeout: has no effect while neither app.update nor app.reboot is "ask"',
    'app.ask_timeout_s: has no effect while neither app.update nor app.reboot is "ask"',
  ]);
  assert.deepEqual(check({ app: { ...app, reboot: "ask" } }).warnings, []);
  assert.deepEqual(check({ app: { on_timeout: "apply" } }).warnings, []);
});

describe("settings that need each other", () => {
  const identity = (given: Table): readonly string[] =>
    problemsOf({ hub: { url: "hub.test" }, identity: given }, {}).map((line) => line.split(":")[0] ?? "");

  for (const [source, keys] of [
    ["file", ["file.cert_file", "file.key_file"]],
    ["env", ["env.cert", "env.key"]],
    ["uboot-env", []],
    ["pkcs11", ["pkcs11.module", "pkcs11.uri"]],
    ["tpm2", ["tpm2.key", "tpm2.cert_file"]],
    ["rpi-otp", ["rpi_otp.cert_file"]],
    ["shared-secret", []],
  ] as const) {
    it(`source ${source} needs ${keys.join(", ") || "nothing more"}`, () =>
      assert.deepEqual(
        identity({ source }),
        keys.map((key) => `identity.${key}`),
      ));
  }

  it("files are enough for source file", () => {
    assert.deepEqual(identity({ file: { cert_file: "/c", key_file: "/k" } }), []);
  });

  it("a shared secret has both key and file, or neither", () => {
    const shared = (given: Table): readonly string[] =>
      identity({ source: "shared-secret", shared_secret: given });
    assert.deepEqual(shared({ key: "nhp_a" }), ["identity.shared_secret.secret_file"]);
    assert.deepEqual(shared({ secret_file: "/s" }), ["identity.shared_secret.key"]);
    assert.deepEqual(shared({ key: "nhp_a", secret_file: "/s" }), []);
  });

  it("min_s is at most max_s", () => {
    assert.deepEqual(problemsOf({ hub: { reconnect: { min_s: 60 } } }), []);
    assert.deepEqual(problemsOf({ hub: { reconnect: { min_s: 2, max_s: 1.5 } } }), [
      "hub.reconnect.min_s = 2: expected no more than hub.reconnect.max_s, which is 1.5",
    ]);
  });

  it("the reboot method gpio-watchdog needs a GPIO line", () => {
    const reboot = { methods: ["gpio-watchdog", "syscall"] };
    assert.match(problemsOf({ reboot }).join(), /^watchdog\.gpio\.line: not set/);
    assert.deepEqual(problemsOf({ reboot, watchdog: { gpio: { line: "17" } } }), []);
  });
});

describe("tables of a list", () => {
  const pump = {
    identifier: "pump",
    action: [{ identifier: "restart", command: "pump restart" }],
    mode: [{ identifier: "speed", values: ["low", "high"], set: 'pump speed "$1"' }],
  };

  it("are read with their own defaults", () => {
    assert.deepEqual(check({ component: [pump] }).config.component, [
      {
        ...{ identifier: "pump", label: "", metrics: [], timeoutMs: 30_000 },
        action: [{ identifier: "restart", label: "", confirm: false, command: "pump restart" }],
        mode: [{ identifier: "speed", label: "", values: ["low", "high"], get: "", set: 'pump speed "$1"' }],
      },
    ]);
    assert.deepEqual(check({}).config.component, []);
  });

  const named = (identifier: string): Table => ({ identifier });
  for (const [component, line] of [
    [{ identifier: "pump" }, "component: expected tables, each under [[component]], 32 at most"],
    [["pump"], "component: expected tables, each under [[component]], 32 at most"],
    [
      [named("a"), { action: [{ command: "x" }], identifier: "b" }],
      "component[1].action[0].identifier: not set; expected a name of 1 to 64 letters, digits, - and _",
    ],
    [[named("a b")], 'component[0].identifier = "a b": expected a name of 1 to 64 letters, digits, - and _'],
    [
      [{ identifier: "pump", action: [{ identifer: "restart", command: "x" }] }],
      "component[0].action[0].identifer: unknown key; did you mean component.action.identifier?",
    ],
    [[{ ...pump, lable: "Pump" }], "component[0].lable: unknown key; did you mean component.label?"],
    [
      [{ ...pump, action: { identifier: "restart" } }],
      "component[0].action: expected tables, each under [[component.action]], 16 at most",
    ],
    [
      [{ ...pump, mode: [{ identifier: "speed", values: [], set: "$1" }] }],
      "component[0].mode[0].values = []: expected an array, not empty, 32 at most, each item text of 1 to 64 characters",
    ],
    [
      [{ ...pump, mode: [{ identifier: "speed", values: ["low "], set: "$1" }] }],
      'component[0].mode[0].values[0] = "low ": expected text of 1 to 64 characters',
    ],
    [
      [{ ...pump, mode: [{ identifier: "speed", values: ["low"], set: "pump speed" }] }],
      'component[0].mode[0].set = "pump speed": expected a command line for /bin/sh that uses the value, "$1"',
    ],
    [
      [named("a"), named("b"), named("a")],
      'component[2].identifier = "a": component[0] has this name already',
    ],
    [
      [{ ...pump, action: [...pump.action, ...pump.action] }],
      'component[0].action[1].identifier = "restart": component[0].action[0] has this name already',
    ],
    [
      [{ ...pump, mode: [...pump.mode, ...pump.mode] }],
      'component[0].mode[1].identifier = "speed": component[0].mode[0] has this name already',
    ],
    [
      Array.from({ length: 33 }, (_, n) => named(`c${n}`)),
      "component: expected tables, each under [[component]], 32 at most",
    ],
    [
      Array.from({ length: 32 }, (_, n) => ({
        identifier: `c${n}`,
        action: [{ identifier: "x", command: "x".repeat(1000) }],
      })),
      "component: more than 32 KiB, which is more than the hub takes; declare fewer",
    ],
  ] as const) {
    it(line, () => assert.deepEqual(problemsOf({ component }), [line]));
  }

  it("can't be set by a variable", () => {
    for (const name of ["HUBLINK__COMPONENT", "HUBLINK_COMPONENT__IDENTIFIER"]) {
      assert.equal(problemsOf({}, { ...NEEDED, [name]: "[]" }).length, 1);
    }
    assert.deepEqual(problemsOf({}, { ...NEEDED, HUBLINK_COMPONENT__LABEL: "Pump" }), [
      "HUBLINK_COMPONENT__LABEL: a list of tables can't be set by a variable; write it in the file",
    ]);
  });
});

describe("a variable of the environment", () => {
  const configOf = (env: Readonly<Record<string, string>>, file: Table = {}): Checked["config"] =>
    check(file, { ...NEEDED, ...env }).config;
  const problems = (name: string, value: string, file: Table = {}): readonly string[] =>
    problemsOf(file, { ...NEEDED, [name]: value });

  it("overrides the file, key by key", () => {
    const { reconnect } = configOf(
      { HUBLINK_HUB__RECONNECT__MIN_S: "2.5" },
      { hub: { reconnect: { min_s: 9, max_s: 50 } } },
    ).hub;
    assert.deepEqual(reconnect, { minMs: 2500, maxMs: 50_000, spreadMs: 30_000, jitter: 1 });
  });

  it("becomes a value of the key's type", () => {
    const config = configOf({
      HUBLINK_HUB__COMPRESS: "false",
      HUBLINK_HUB__TOPIC: "42",
      HUBLINK_IDENTITY__SHARED_SECRET__KEY: "nhp_a",
      HUBLINK_IDENTITY__SHARED_SECRET__SECRET_FILE: "/s",
      HUBLINK_FIRMWARE__FWUP_ARGS: "--verbose, --unsafe",
      HUBLINK_REBOOT__METHODS: '["syscall"]',
      HUBLINK_FIRMWARE__FWUP_ENV: '{"A":"1"}',
      HUBLINK_UPDATE__WINDOW: "",
      HUBLINK_UPDATE__CONNECTIONS: "3",
    });
    assert.equal(config.hub.compress, false);
    assert.equal(config.hub.topic, "42");
    assert.equal(config.identity.sharedSecret.key, "nhp_a");
    assert.deepEqual(config.firmware.fwupArgs, ["--verbose", "--unsafe"]);
    assert.deepEqual(config.reboot.methods, ["syscall"]);
    assert.deepEqual(config.firmware.fwupEnv, { A: "1" });
    assert.deepEqual(config.update.window, []);
    assert.equal(config.update.connections, 3);
  });

  it("is named when its value is wrong", () => {
    assert.deepEqual(problems("HUBLINK_HUB__HEARTBEAT_S", "fast"), [
      'hub.heartbeat_s (HUBLINK_HUB__HEARTBEAT_S) = "fast": expected a number of seconds from 0.01 to 3600',
    ]);
    assert.match(problems("HUBLINK_HUB__HEARTBEAT_S", "").join(), /= "": expected a number/);
    assert.match(problems("HUBLINK_HUB__COMPRESS", "1").join(), /= "1": expected true or false/);
    assert.match(problems("HUBLINK_FIRMWARE__FWUP_ARGS", "[1").join(), /= "\[1": expected an array/);
  });

  it("does not show a secret in an error", () => {
    const lines = problems("HUBLINK_FIRMWARE__FWUP_ENV", "hunter2");
    assert.deepEqual(lines, [
      "firmware.fwup_env (HUBLINK_FIRMWARE__FWUP_ENV): expected a table of variables and their text",
    ]);
  });

  it("is an error when it names no key; the error names the nearest key", () => {
    assert.deepEqual(problems("HUBLINK_HUB__HEARTBEAT", "5"), [
      "HUBLINK_HUB__HEARTBEAT: unknown setting; did you mean HUBLINK_HUB__HEARTBEAT_S?",
    ]);
    assert.equal(problems("HUBLINK_HUB__URL__X", "5").length, 1);
    assert.match(problems("HUBLINK_HUB__CONSTRUCTOR", "5").join(), /: unknown setting;/);
    assert.equal(problems("HUBLINK__PROTO____X", "5").length, 1);
  });

  it("is the only mistake reported when the key that was meant is a needed one", () => {
    const env = { HUBLINK_HUB__ULR: "hub.test", HUBLINK_IDENTITY__SOURCE: "shared-secret" };
    assert.deepEqual(problemsOf({}, env), [
      "HUBLINK_HUB__ULR: unknown setting; did you mean HUBLINK_HUB__URL?",
    ]);
  });

  it("is an error when it names a section", () => {
    assert.deepEqual(problems("HUBLINK_HUB__RECONNECT", "5"), [
      "HUBLINK_HUB__RECONNECT: names a section; set its keys instead, such as HUBLINK_HUB__RECONNECT__MIN_S",
    ]);
  });

  it("does not hide a mistake in the file", () => {
    assert.deepEqual(problems("HUBLINK_LOG__LEVEL", "debug", { log: 5 }), ["log: expected a table, [log]"]);
  });

  it("without two underscores is ignored", () => {
    assert.deepEqual(problems("HUBLINK_FIXTURES", "/x"), []);
    assert.deepEqual(problems("OTHER__HUB__URL", "x"), []);
  });
});

it("an empty configuration has all defaults, and lacks only the hub", () => {
  const { config } = check({});
  const { hub, identity, ...rest } = defaultConfig();
  assert.deepEqual(config, {
    ...rest,
    hub: { ...hub, url: "wss://hub.test" },
    identity: { ...identity, source: "shared-secret" },
  });
});

it("every default passes its own check", () => {
  const { hub, ...rest } = defaultTable();
  assert.ok(isTable(hub));
  assert.deepEqual(
    check({ ...rest, hub: { ...hub, url: "hub.test" }, identity: { source: "uboot-env" } }, {}).warnings,
    [],
  );
});

it("every file is either accepted or refused with reasons", () => {
  const names = new Set<string>();
  const collect = (section: Section): void => {
    for (const [key, entry] of Object.entries(section.entries)) {
      names.add(key);
      if (isSection(entry)) collect(entry);
      else if (isTableList(entry)) collect(entry.item);
    }
  };
  collect(schema);
  const key = fc.oneof(
    { weight: 9, arbitrary: fc.constantFrom(...names) },
    fc.string(),
    fc.constant("__proto__"),
  );
  const { table } = fc.letrec<{ table: Table; value: unknown }>((tie) => ({
    table: fc.dictionary(key, tie("value"), { maxKeys: 6 }),
    value: fc.oneof(
      { maxDepth: 5 },
      fc.oneof(fc.string(), fc.webUrl(), fc.double(), fc.bigInt(), fc.boolean(), fc.date()),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.array(tie("table"), { maxLength: 3 }),
      { weight: 3, arbitrary: tie("table") },
    ),
  }));
  const variable = fc.oneof(
    key,
    fc.tuple(key, key).map((keys) => keys.join("__")),
  );
  const env = fc.dictionary(
    variable.map((name) => `HUBLINK_${name.toUpperCase()}`),
    fc.string(),
    { maxKeys: 4 },
  );
  fc.assert(
    fc.property(table, env, (file, variables) => {
      for (const problem of problemsOf(file, variables)) assert.match(problem, /^[^\n]+: .+$/);
    }),
    { numRuns: 2000 },
  );
});
