/** The changes of variables that validate, revert and invalidate make, and when each is refused. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { invalidation, reversion, validation } from "../../src/firmware/slot-changes.ts";
import type { RunningFirmware, Slot } from "../../src/firmware/slots.ts";
import {
  after,
  FIRMWARE_A,
  FIRMWARE_B,
  read,
  toObject,
  UPDATED_TO_B,
  type Values,
} from "./slot-variables.ts";

/** Applies an operation to variables and to what they say of the running firmware. */
function changesOf(
  operation: (
    variables: ReadonlyMap<string, string>,
    running: RunningFirmware,
  ) => ReadonlyMap<string, string | null>,
  variables: Values,
  commandLine = "",
  installedFrom?: Slot,
): unknown {
  const running = read(variables, commandLine, installedFrom);
  return toObject(operation(new Map(Object.entries(variables)), running));
}

describe("validating", () => {
  const active = { ...FIRMWARE_A, nerves_fw_active: "a" };
  const cases: readonly (readonly [what: string, variables: Values, changes: Values])[] = [
    ["the common flag", { nerves_fw_validated: "0" }, { nerves_fw_validated: "1" }],
    ["the common flag where there is none", {}, { nerves_fw_validated: "1" }],
    ["only the slot's own flag", { "a.nerves_fw_validated": "0" }, { "a.nerves_fw_validated": "1" }],
    [
      "both flags where there are both",
      { "a.nerves_fw_validated": "0", nerves_fw_validated: "0" },
      { "a.nerves_fw_validated": "1", nerves_fw_validated: "1" },
    ],
    [
      "the boot loader's counts to 0",
      { nerves_fw_validated: "0", upgrade_available: "1", bootcount: "2", nerves_fw_booted: "1" },
      { nerves_fw_validated: "1", upgrade_available: "0", bootcount: "0", nerves_fw_booted: "0" },
    ],
  ];
  for (const [what, variables, changes] of cases) {
    it(`sets ${what}`, () => {
      assert.deepEqual(changesOf(validation, { ...active, ...variables }), {
        nerves_fw_active: "a",
        ...changes,
      });
    });
  }

  it("never marks another slot's firmware good", () => {
    // This holds before a correction after a fall-back is written …
    assert.deepEqual(changesOf(validation, UPDATED_TO_B, "fw_slot=a"), {
      nerves_fw_active: "a",
      nerves_fw_validated: "1",
      upgrade_available: "0",
      bootcount: "0",
    });
    // … and between an update and its reboot.
    assert.throws(() => changesOf(validation, UPDATED_TO_B, "", "a"), { kind: "unavailable" });
  });

  it("works without slots", () => {
    assert.deepEqual(changesOf(validation, { nerves_fw_validated: "0" }), { nerves_fw_validated: "1" });
  });
});

describe("an update installed since the running firmware was read", () => {
  const running = read({ ...FIRMWARE_A, nerves_fw_active: "a", nerves_fw_validated: "1" });
  const updated = new Map(Object.entries(UPDATED_TO_B));
  for (const operation of [validation, reversion]) {
    it(`is not changed by ${operation.name}`, () => {
      assert.throws(() => operation(updated, running), {
        name: "Failure",
        kind: "unavailable",
        message: /waits for its reboot/,
      });
    });
  }
});

describe("making a slot invalid", () => {
  const variables = { ...UPDATED_TO_B, "a.nerves_fw_validated": "1", "b.nerves_fw_validated": "1" };

  it("removes the values that a boot needs and keeps the rest", () => {
    assert.deepEqual(
      changesOf((all, running) => invalidation(all, running, "a"), variables),
      {
        "a.nerves_fw_version": null,
        "a.nerves_fw_platform": null,
        "a.nerves_fw_architecture": null,
        "a.nerves_fw_uuid": null,
        "a.nerves_fw_validated": "0",
      },
    );
  });

  it("changes nothing in a slot that has no description", () => {
    const changes = changesOf((all, running) => invalidation(all, running, "b"), {
      ...FIRMWARE_A,
      nerves_fw_active: "a",
    });
    assert.deepEqual(changes, {});
  });

  it("is refused for the running slot, also when the variables call the other one active", () => {
    const refused = { name: "Failure", kind: "usage", message: /slot a is running/ };
    assert.throws(
      () => changesOf((all, running) => invalidation(all, running, "a"), UPDATED_TO_B, "fw_slot=a"),
      refused,
    );
  });

  it("is refused when the running slot is unknown", () => {
    assert.throws(() => changesOf((all, running) => invalidation(all, running, "a"), FIRMWARE_A), {
      message: /slot a may be running/,
    });
  });
});

describe("reverting", () => {
  it("makes the other slot active and validated", () => {
    assert.deepEqual(changesOf(reversion, { ...UPDATED_TO_B, nerves_fw_booted: "1" }), {
      nerves_fw_active: "a",
      nerves_fw_validated: "1",
      upgrade_available: "0",
      bootcount: "0",
      nerves_fw_booted: "0",
    });
  });

  it("adds no flags that the board does not have", () => {
    const variables = { ...FIRMWARE_A, ...FIRMWARE_B, nerves_fw_active: "a", "b.nerves_fw_validated": "1" };
    assert.deepEqual(changesOf(reversion, variables), { nerves_fw_active: "b" });
  });

  const refusals: readonly (readonly [
    why: string,
    variables: Values,
    message: RegExp,
    commandLine?: string,
    installedFrom?: Slot,
  ])[] = [
    ["there are no slots", { nerves_fw_uuid: "u" }, /not known which slot runs/],
    [
      "the other slot was never written",
      { ...FIRMWARE_A, nerves_fw_active: "a" },
      /slot b holds no valid firmware to revert to \(no uuid, platform, architecture\)/,
    ],
    [
      "the other slot's description was removed in part",
      { ...UPDATED_TO_B, "a.nerves_fw_platform": "" },
      /slot a holds no valid firmware to revert to \(no platform\)/,
    ],
    [
      "the other slot was never validated",
      { ...UPDATED_TO_B, "a.nerves_fw_validated": "0" },
      /slot a .*\(it was never validated\)/,
    ],
    ["the boot loader gave up on it", UPDATED_TO_B, /slot b .*\(the boot loader has just/, "fw_slot=a"],
    ["an update waits for its reboot", UPDATED_TO_B, /waits for its reboot/, "fw_slot=a", "a"],
  ];
  for (const [why, variables, message, commandLine, installedFrom] of refusals) {
    it(`is refused when ${why}`, () => {
      assert.throws(() => changesOf(reversion, variables, commandLine, installedFrom), {
        name: "Failure",
        kind: "unavailable",
        message,
      });
    });
  }

  it("stays refused after the fall-back was corrected", () => {
    const { correction } = read(UPDATED_TO_B, "fw_slot=a");
    assert.throws(() => changesOf(reversion, after(UPDATED_TO_B, correction), "fw_slot=a"), {
      message: /no platform, architecture/,
    });
  });
});
