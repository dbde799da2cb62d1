/** The hub's messages as the agent parses them, and the payload of the board's join. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { joinPayload, parseHubMessage, parseJoinReply } from "../../src/hub/device-messages.ts";

const URL_SIGNED = "https://files.example.com/fw/1.fw?signature=SECRET";
const SHA = "0123456789ABCDEF".repeat(4);
/** An update of today's server. */
const UPDATE = {
  update_available: true,
  deployment_id: 12,
  firmware_url: URL_SIGNED,
  firmware_meta: {
    uuid: "uuid-2",
    version: "2.0.0",
    product: "board",
    platform: "rpi0",
    architecture: "arm",
    author: null,
    description: "",
    fwup_version: "1.10",
  },
  size: 2_000_000,
  checksum: SHA,
  partials_checksums: [SHA, SHA],
};
/** An update of the first servers. */
const OLD_UPDATE = {
  update_available: true,
  firmware_url: URL_SIGNED,
  firmware_meta: { uuid: "uuid-2" },
};

const EVENTS = [
  "update",
  "reboot",
  "identify",
  "fwup_public_keys",
  "archive_public_keys",
  "archive",
  "scripts/run",
  "extensions:get",
  "update_mode",
  "update_available",
  "update_rejected",
  "nonsense",
];

describe("the hub's messages", () => {
  it("update: all the server's values are parsed, checksums in lower case", () => {
    const message = parseHubMessage("update", UPDATE);
    assert(message.type === "update");
    const { update } = message;
    assert.equal(update.firmware_url, URL_SIGNED);
    assert.equal(update.deployment_id, 12);
    assert.equal(update.size, 2_000_000);
    assert.equal(update.checksum, SHA.toLowerCase());
    assert.deepEqual(update.partials_checksums, [SHA.toLowerCase(), SHA.toLowerCase()]);
    assert.deepEqual(update.firmware_meta, {
      uuid: "uuid-2",
      version: "2.0.0",
      product: "board",
      platform: "rpi0",
      architecture: "arm",
      author: null,
      description: "",
      vcs_identifier: null,
      misc: null,
    });
  });

  it("update: a value that old servers do not send is null", () => {
    const message = parseHubMessage("update", OLD_UPDATE);
    assert(message.type === "update");
    const { size, checksum, partials_checksums: parts, deployment_id: id } = message.update;
    assert.deepEqual([size, checksum, parts, id], [null, null, null, null]);
  });

  it("update_mode, update_available and update_rejected: as device API 2.4.0 has them; a delay is in minutes", () => {
    const managed = { mode: "device_managed", managed_updates_allowed: true };
    assert.deepEqual(parseHubMessage("update_mode", managed), { type: "update-mode", mode: managed });
    assert.equal(parseHubMessage("update_mode", { ...managed, mode: "later" }).type, "malformed");
    const there = parseHubMessage("update_available", {
      available: true,
      firmware_meta: { uuid: "uuid-2", version: "2.0.0" },
    });
    assert(there.type === "update-available");
    assert.equal(there.available.firmware_meta.version, "2.0.0");
    const none = parseHubMessage("update_available", { available: false });
    assert(none.type === "update-available" && !none.available.available);
    assert.deepEqual(parseHubMessage("update_rejected", { reason: "busy", delay_for: 5 }), {
      type: "update-rejected",
      reason: "busy",
      delayMs: 300_000,
    });
    assert.deepEqual(parseHubMessage("update_rejected", {}), {
      type: "update-rejected",
      reason: "no reason given",
      delayMs: undefined,
    });
    assert.equal(parseHubMessage("update_rejected", { delay_for: 1e9 }).type, "malformed");
  });

  it("update: only `false` means that there is no update", () => {
    assert.deepEqual(parseHubMessage("update", { update_available: false }), { type: "no-update" });
    const unsaid: Record<string, unknown> = { ...UPDATE };
    delete unsaid["update_available"];
    assert.equal(parseHubMessage("update", unsaid).type, "update");
  });

  const bad: readonly (readonly [what: string, payload: unknown, problem: string, uuid: string | null])[] = [
    ["no URL", { ...UPDATE, firmware_url: undefined }, "update: firmware_url is missing", "uuid-2"],
    ["an empty URL", { ...UPDATE, firmware_url: "" }, "update: firmware_url is empty", "uuid-2"],
    [
      "a URL that is none",
      { ...UPDATE, firmware_url: "not a url SECRET" },
      "update: firmware_url is not an http(s) URL",
      "uuid-2",
    ],
    [
      "a file's URL",
      { ...UPDATE, firmware_url: "file:///etc/SECRET" },
      "update: firmware_url is not an http(s) URL",
      "uuid-2",
    ],
    ["a number for a URL", { ...UPDATE, firmware_url: 5 }, "update: firmware_url should be string", "uuid-2"],
    [
      "no uuid",
      { ...UPDATE, firmware_meta: { version: "2" } },
      "update: firmware_meta.uuid is missing",
      null,
    ],
    ["no metadata", { ...UPDATE, firmware_meta: null }, "update: firmware_meta should be Object", null],
    [
      "a version that is a number",
      { ...UPDATE, firmware_meta: { uuid: "uuid-2", version: 2 } },
      "update: firmware_meta.version should be string",
      "uuid-2",
    ],
    ["a size in words", { ...UPDATE, size: "many SECRET" }, "update: size should be number", "uuid-2"],
    ["a size of nothing", { ...UPDATE, size: 0 }, "update: size", "uuid-2"],
    ["half a byte", { ...UPDATE, size: 1.5 }, "update: size", "uuid-2"],
    [
      "a short checksum",
      { ...UPDATE, checksum: "SECRET" },
      "update: checksum not a SHA-256 in hex",
      "uuid-2",
    ],
    [
      "a bad checksum of a part",
      { ...UPDATE, partials_checksums: [SHA, "SECRET"] },
      "update: partials_checksums.1 not a SHA-256 in hex",
      "uuid-2",
    ],
    ["a list", [UPDATE], "update", null],
    ["nothing", null, "update should be Object", null],
    ["a word", "SECRET", "update should be Object", null],
  ];
  for (const [what, payload, problem, uuid] of bad) {
    it(`update: the problem with ${what} is named, and the value never quoted`, () => {
      const message = parseHubMessage("update", payload);
      assert(message.type === "bad-update", message.type);
      assert(message.problem.startsWith(problem), message.problem);
      assert(!message.problem.includes("SECRET"), message.problem);
      assert.equal(message.uuid, uuid);
    });
  }

  it("update: a text that identifies a firmware is refused when it is too long", () => {
    const meta = UPDATE.firmware_meta;
    const tooLong: readonly (readonly [wrong: object, problem: string, uuid: string | null])[] = [
      [{ firmware_meta: { ...meta, uuid: "u".repeat(65) } }, "firmware_meta.uuid is longer than 64", null],
      [
        { firmware_meta: { ...meta, product: " ".repeat(257) } },
        "firmware_meta.product is longer",
        meta.uuid,
      ],
      [
        { firmware_meta: { ...meta, version: "1".repeat(257) } },
        "firmware_meta.version is longer",
        meta.uuid,
      ],
      [{ deployment_id: "d".repeat(257) }, "deployment_id", meta.uuid],
      [{ firmware_url: `https://h/${"u".repeat(8192)}` }, "firmware_url is longer than 8192", meta.uuid],
    ];
    for (const [wrong, problem, uuid] of tooLong) {
      const message = parseHubMessage("update", { ...UPDATE, ...wrong });
      assert(message.type === "bad-update", problem);
      assert(message.problem.startsWith(`update: ${problem}`), message.problem);
      assert.equal(message.uuid, uuid, "what the hub is answered with, and each join after it");
    }
  });

  it("update: a text that people read is cut when it is too long", () => {
    const long = { description: "d".repeat(10_000), misc: "m".repeat(257), author: "a".repeat(256) };
    const message = parseHubMessage("update", {
      ...UPDATE,
      firmware_meta: { ...UPDATE.firmware_meta, ...long },
    });
    assert(message.type === "update");
    const { description, misc, author } = message.update.firmware_meta;
    assert.equal(description, `${"d".repeat(255)}…`);
    assert.equal(misc, `${"m".repeat(255)}…`);
    assert.equal(author, long.author);
  });

  it("keys, scripts and archives: a text that is too long is refused", () => {
    const archive = { uuid: "0689460b-e34b-5834-5993-cfdec7f9d7f0", size: 1, url: "https://h/a.fw" };
    const long = "x".repeat(10_000);
    for (const [event, payload] of [
      ["fwup_public_keys", { keys: ["k", long] }],
      ["archive_public_keys", { keys: [long] }],
      ["scripts/run", { text: "true", ref: long }],
      ["archive", { ...archive, version: long }],
      ["archive", { ...archive, url: `https://h/${long}` }],
    ] as const) {
      const message = parseHubMessage(event, payload);
      assert(message.type === "malformed", event);
      assert(message.problem.length < 100, message.problem);
    }
  });

  it("update: the check ends at the first wrong value, however many follow", () => {
    const parts: unknown[] = [1, 2];
    let looked = false;
    Object.defineProperty(parts, 1, {
      get() {
        looked = true;
        return 2;
      },
    });
    assert.equal(parseHubMessage("update", { ...UPDATE, partials_checksums: parts }).type, "bad-update");
    assert(!looked);
  });

  it("keys: those for firmware and those for archives are parsed", () => {
    assert.deepEqual(parseHubMessage("fwup_public_keys", { keys: ["a", "b"] }), {
      type: "firmware-keys",
      keys: ["a", "b"],
    });
    assert.deepEqual(parseHubMessage("archive_public_keys", { keys: [] }), {
      type: "archive-keys",
      keys: [],
    });
    for (const payload of [{}, { keys: "SECRET" }, { keys: [1] }, { keys: null }, null, []]) {
      const message = parseHubMessage("fwup_public_keys", payload);
      assert(message.type === "malformed");
      assert.match(message.problem, /^fwup_public_keys/);
      assert(!message.problem.includes("SECRET"));
    }
  });

  it("scripts: text, ref and timeout are parsed", () => {
    const run = { text: "1 + 1", ref: "connecting_code" };
    assert.deepEqual(parseHubMessage("scripts/run", run), {
      type: "script",
      script: { ...run, timeoutMs: undefined },
    });
    assert.deepEqual(parseHubMessage("scripts/run", { ...run, timeout: 5000 }), {
      type: "script",
      script: { ...run, timeoutMs: 5000 },
    });
    for (const payload of [{ text: "x" }, { ...run, ref: 1 }, { ...run, timeout: "long" }, null]) {
      assert.equal(parseHubMessage("scripts/run", payload).type, "malformed");
    }
  });

  it("reboot, identify and extensions: any payload is accepted", () => {
    for (const payload of [{}, null, "x", { reason: "y" }]) {
      assert.deepEqual(parseHubMessage("reboot", payload), { type: "reboot" });
      assert.deepEqual(parseHubMessage("identify", payload), { type: "identify" });
      assert.deepEqual(parseHubMessage("extensions:get", payload), {
        type: "extensions",
        offered: undefined,
      });
      assert.deepEqual(parseHubMessage("presence_diff", payload), { type: "unknown" });
    }
  });

  it("extensions:get: names the versions of each extension; those that are no text count for nothing", () => {
    const offered = (extensions: unknown): unknown => parseHubMessage("extensions:get", { extensions });
    assert.deepEqual(offered({ logging: ["0.1.0", 1, null, "0.0.1"], geo: [] }), {
      type: "extensions",
      offered: new Map([
        ["logging", ["0.1.0", "0.0.1"]],
        ["geo", []],
      ]),
    });
    for (const unreadable of [null, "all", ["logging"], { logging: "0.1.0" }]) {
      assert.deepEqual(offered(unreadable), { type: "extensions", offered: undefined });
    }
  });

  it("archive: a malformed uuid is refused, since the uuid becomes a file name", () => {
    const archive = {
      uuid: "0689460b-e34b-5834-5993-cfdec7f9d7f0",
      version: "0.1.0",
      size: 681,
      url: "https://h/a.fw?s=1",
    };
    assert.deepEqual(parseHubMessage("archive", { ...archive, platform: "generic" }), {
      type: "archive",
      archive,
    });
    for (const wrong of [
      { uuid: "../x" },
      { uuid: `${archive.uuid}/..` },
      { size: 0 },
      { url: "file:///x" },
    ]) {
      assert.equal(parseHubMessage("archive", { ...archive, ...wrong }).type, "malformed");
    }
  });

  it("the join's answer: an old server's update is parsed, and today's answers hold none", () => {
    assert.equal(parseJoinReply({}), undefined);
    assert.equal(parseJoinReply(undefined), undefined);
    assert.equal(parseJoinReply({ update_available: false }), undefined);
    assert.equal(parseJoinReply({ update_available: "yes" }), undefined);
    assert.equal(parseJoinReply(OLD_UPDATE)?.type, "update");
    assert.equal(parseJoinReply({ update_available: true })?.type, "bad-update");
  });

  it("never make the parser throw", () => {
    const event = fc.oneof(fc.constantFrom(...EVENTS), fc.string());
    // Arbitrary values, and updates in which some values are arbitrary.
    const near = fc.record(
      Object.fromEntries(
        [...Object.keys(UPDATE), "keys", "text", "ref"].map((key) => [key, fc.jsonValue({ maxDepth: 2 })]),
      ),
      { requiredKeys: [] },
    );
    const nearer = near.map((changes) => ({ ...UPDATE, ...changes }));
    fc.assert(
      fc.property(event, fc.oneof(fc.anything({ maxDepth: 2 }), near, nearer), (name, payload) => {
        assert.equal(typeof parseHubMessage(name, payload).type, "string");
        const reply = parseJoinReply(payload);
        assert(reply === undefined || reply.type === "update" || reply.type === "bad-update");
      }),
      { numRuns: 40_000 },
    );
  });
});

describe("the join's payload", () => {
  it("holds all that the server reads", () => {
    const payload = joinPayload({
      firmware: { nerves_fw_uuid: "uuid-1", nerves_fw_version: "1.0.0" },
      fwupVersion: "1.10.2",
      downloadingUuid: null,
      validated: false,
      autoRevertDetected: true,
    });
    assert.deepEqual(payload, {
      nerves_fw_uuid: "uuid-1",
      nerves_fw_version: "1.0.0",
      device_api_version: "2.4.0",
      console_version: "2.0.0",
      fwup_version: "1.10.2",
      update_tool: "fwup",
      fwup_public_keys: "on_connect",
      archive_public_keys: "on_connect",
      currently_downloading_uuid: null,
      meta: { firmware_validated: false, firmware_auto_revert_detected: true },
    });
  });

  it("is not changed by firmware values of the same names", () => {
    const payload = joinPayload({
      firmware: { device_api_version: "9", currently_downloading_uuid: "x" },
      fwupVersion: "",
      downloadingUuid: "uuid-2",
      validated: true,
      autoRevertDetected: false,
    });
    assert.equal(payload["device_api_version"], "2.4.0");
    assert.equal(payload["currently_downloading_uuid"], "uuid-2");
  });
});
