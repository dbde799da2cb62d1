/**
 * Which slot runs, whether its firmware is validated, and whether the boot loader fell back: derived from
 * variables and the kernel's command line alone.
 */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { otherSlot, readSlots, type RunningFirmware, targetSlot } from "../../src/firmware/slots.ts";
import {
  after,
  FIRMWARE_A,
  FIRMWARE_B,
  read,
  toObject,
  UPDATED_TO_B,
  type Values,
} from "./slot-variables.ts";

describe("the running firmware", () => {
  it("has all values of the active slot, without the slot's prefix", () => {
    const firmware = read({
      ...UPDATED_TO_B,
      "b.nerves_fw_misc": "x",
      "b.other": "no",
      nerves_serial_number: "1",
      nerves_fw_devpath: "/dev/mmcblk0",
    });
    assert.equal(firmware.slot, "b");
    assert.deepEqual(firmware.metadata, {
      nerves_fw_uuid: "uuid-of-v2",
      nerves_fw_version: "2.0.0",
      nerves_fw_product: "demo-board",
      nerves_fw_platform: "rpi0",
      nerves_fw_architecture: "arm",
      nerves_fw_misc: "x",
    });
    const { uuid, version, product, platform, architecture } = firmware;
    assert.deepEqual(
      [uuid, version, product, platform, architecture],
      ["uuid-of-v2", "2.0.0", "demo-board", "rpi0", "arm"],
    );
    assert.equal(firmware.other?.version, "1.0.0");
    assert.equal(firmware.devpath, "/dev/mmcblk0");
    assert.equal(firmware.autoRevertDetected, false);
    assert.equal(firmware.rebootPending, false);
    assert.equal(firmware.correction.size, 0);
    assert.deepEqual(firmware.warnings, []);
  });

  it("has the values without a prefix on a board without slots", () => {
    const firmware = read({ nerves_fw_uuid: "u", nerves_fw_version: "1", nerves_fw_validated: "1" }, "quiet");
    assert.equal(firmware.slot, "");
    assert.deepEqual(firmware.metadata, { nerves_fw_uuid: "u", nerves_fw_version: "1" });
    assert.equal(firmware.validated, true);
    assert.equal("other" in firmware, false);
    assert.deepEqual(firmware.warnings, [
      "the running firmware has no product, platform, architecture; the hub can't tell what it is",
    ]);
  });

  it("is unknown when nothing names the running slot, and a warning has the remedy", () => {
    const { slot, metadata, warnings } = read({ ...FIRMWARE_A, ...FIRMWARE_B });
    assert.equal(slot, "");
    assert.deepEqual(metadata, {});
    assert.match(warnings.join("; "), /which slot runs; have the boot script pass fw_slot=a or fw_slot=b/);
  });

  it("is not guessed from garbage, and a warning names the garbage", () => {
    const firmware = read({ ...UPDATED_TO_B, nerves_fw_active: "q" }, "fw_slot=zzz fw_validated=maybe");
    assert.equal(firmware.slot, "");
    assert.match(firmware.warnings.join("; "), /fw_slot=zzz is neither a nor b; ignored/);
    assert.match(firmware.warnings.join("; "), /nerves_fw_active=q is neither a nor b; ignored/);
    assert.match(
      firmware.warnings.join("; "),
      /fw_validated=maybe on the kernel command line is neither 0 nor 1/,
    );
    assert.equal(read({ ...UPDATED_TO_B }, "fw_slot=zzz").slot, "b", "the variables still count");
  });

  const commandLines: readonly (readonly [commandLine: string, slot: string])[] = [
    ["root=/dev/mmcblk0p2 fw_slot=a quiet\n", "a"],
    ["fw_slot=a fw_slot=b", "b"],
    ['fw_slot="a"', "a"],
    ['fw_slot=b init="/init fw_slot=a"', "b"],
    ["xfw_slot=a", "b"],
    ["FW_SLOT=a", "b"],
    ["fw_slot", "b"],
  ];
  for (const [commandLine, slot] of commandLines) {
    it(`is in slot ${slot} when b is active and the kernel's command line is ${JSON.stringify(commandLine)}`, () => {
      assert.equal(read(UPDATED_TO_B, commandLine).slot, slot);
    });
  }

  it("can be read from any variables, and its correction is complete", () => {
    const name = fc.oneof(
      fc.string(),
      fc.constantFrom(
        ...Object.keys(UPDATED_TO_B),
        "a.nerves_fw_validated",
        "nerves_fw_reverted",
        "__proto__",
      ),
    );
    const value = fc.oneof(fc.string(), fc.constantFrom("0", "1", "a", "b"));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(name, value)),
        fc.oneof(fc.string(), fc.constantFrom("fw_slot=a", "fw_slot=b fw_validated=0")),
        fc.option(
          fc.record({
            slot: fc.constantFrom("a", "b", ""),
            active: fc.constantFrom("a", "b", null),
            installed: fc.boolean(),
          }),
          { nil: undefined },
        ),
        (entries, kernelCommandLine, boot) => {
          const variables = new Map(entries);
          const firmware = readSlots({ variables, kernelCommandLine, boot });
          // After the correction, nothing is left to correct.
          const corrected = new Map(
            Object.entries(after(Object.fromEntries(variables), firmware.correction)),
          );
          assert.equal(readSlots({ variables: corrected, kernelCommandLine, boot }).correction.size, 0);
        },
      ),
      { numRuns: 10_000 },
    );
  });
});

describe("variables that name another slot than the one that runs", () => {
  const readIn = (boot: { slot: "a" | "b"; active: "a" | "b" }, commandLine = ""): RunningFirmware =>
    readSlots({
      variables: new Map(Object.entries(UPDATED_TO_B)),
      kernelCommandLine: commandLine,
      boot: { ...boot, installed: false },
    });

  for (const commandLine of ["", "fw_slot=a"]) {
    it(`and did not when this boot was first seen: somebody installed firmware (${commandLine || "no fw_slot="})`, () => {
      const firmware = readIn({ slot: "a", active: "a" }, commandLine);
      assert.deepEqual([firmware.slot, firmware.active, firmware.rebootPending], ["a", "b", true]);
      assert.deepEqual([firmware.autoRevertDetected, firmware.correction.size], [false, 0]);
      assert.throws(() => targetSlot(firmware), { code: "reboot_pending" });
    });
  }

  it("and did from the start: the boot loader fell back", () => {
    const firmware = readIn({ slot: "a", active: "b" });
    assert.deepEqual(
      [firmware.slot, firmware.rebootPending, firmware.autoRevertDetected],
      ["a", false, true],
    );
    assert.equal(firmware.correction.get("nerves_fw_active"), "a");
  });

  it("and are right, when the boot script says so: this is another boot than the one that was seen", () => {
    assert.equal(readIn({ slot: "a", active: "a" }, "fw_slot=b").slot, "b");
  });
});

describe("firmware is validated", () => {
  const cases: readonly (readonly [
    expected: boolean,
    why: string,
    variables: Values,
    commandLine?: string,
  ])[] = [
    [true, "where there is no flag", {}],
    [true, "by nerves_fw_validated=1", { nerves_fw_validated: "1" }],
    [false, "not by nerves_fw_validated=0", { nerves_fw_validated: "0" }],
    [false, "not while U-Boot counts its boots", { upgrade_available: "1" }],
    [true, "once U-Boot counts no more", { upgrade_available: "0" }],
    [false, "by its slot's own flag first: 0", { "a.nerves_fw_validated": "0", nerves_fw_validated: "1" }],
    [true, "by its slot's own flag first: 1", { "a.nerves_fw_validated": "1", nerves_fw_validated: "0" }],
    [true, "also when the other slot's flag is 0", { "b.nerves_fw_validated": "0" }],
    [true, "by fw_validated=1 over the variables", { nerves_fw_validated: "0" }, "fw_slot=a fw_validated=1"],
    [false, "not by fw_validated=0 where there is no flag", {}, "fw_slot=a fw_validated=0"],
    [true, "by a flag set since a boot with fw_validated=0", { nerves_fw_validated: "1" }, "fw_validated=0"],
  ];
  for (const [expected, why, variables, commandLine] of cases) {
    it(why, () => {
      assert.equal(
        read({ ...FIRMWARE_A, nerves_fw_active: "a", ...variables }, commandLine).validated,
        expected,
      );
    });
  }

  it("not by the flag of another slot that the variables still call active", () => {
    const stale = { ...UPDATED_TO_B, nerves_fw_validated: "1" };
    assert.equal(read(stale, "fw_slot=a fw_validated=0").validated, false);
  });
});

describe("a boot loader that fell back", () => {
  it("is seen when the variables name another slot than the booted one, and is corrected", () => {
    const firmware = read(UPDATED_TO_B, "fw_slot=a");
    assert.equal(firmware.autoRevertDetected, true);
    assert.equal(firmware.validated, true, "the firmware that runs again was validated");
    assert.equal(firmware.version, "1.0.0");
    assert.equal(firmware.other?.uuid, "uuid-of-v2", "the failed firmware is known");
    assert.deepEqual(toObject(firmware.correction), {
      nerves_fw_active: "a",
      nerves_fw_validated: "1",
      upgrade_available: "0",
      bootcount: "0",
      "b.nerves_fw_platform": null,
      "b.nerves_fw_architecture": null,
    });
  });

  it("is corrected without variables that the board does not have", () => {
    const stale = { ...FIRMWARE_A, "b.nerves_fw_validated": "1", nerves_fw_active: "b" };
    assert.deepEqual(toObject(read(stale, "fw_slot=a").correction), {
      nerves_fw_active: "a",
      "b.nerves_fw_validated": "0",
    });
  });

  it("may report it by nerves_fw_reverted=1, which the correction clears", () => {
    // As boot.cmd of the rpi0 image leaves the variables.
    const variables = {
      ...FIRMWARE_A,
      ...FIRMWARE_B,
      nerves_fw_active: "a",
      nerves_fw_validated: "1",
      nerves_fw_booted: "1",
      nerves_fw_reverted: "1",
    };
    const firmware = read(variables);
    assert.equal(firmware.autoRevertDetected, true);
    assert.deepEqual(toObject(firmware.correction), {
      "b.nerves_fw_platform": null,
      "b.nerves_fw_architecture": null,
      nerves_fw_reverted: null,
    });
    const corrected = read(after(variables, firmware.correction));
    assert.equal(corrected.autoRevertDetected, false);
    assert.equal(corrected.correction.size, 0);
    assert.equal(corrected.other?.version, "2.0.0", "the failed firmware is still known");
  });

  it("is not seen in firmware on trial, despite an old mark or a stale active slot", () => {
    const marked = read({ ...UPDATED_TO_B, nerves_fw_reverted: "1" });
    assert.equal(marked.autoRevertDetected, false);
    assert.deepEqual(toObject(marked.correction), { nerves_fw_reverted: null });
    const variables = { ...UPDATED_TO_B, nerves_fw_active: "a", nerves_fw_validated: "1" };
    const trial = read(variables, "fw_slot=b fw_validated=0");
    assert.equal(trial.autoRevertDetected, false);
    assert.deepEqual(toObject(trial.correction), { nerves_fw_active: "b", nerves_fw_validated: "0" });
    const ownFlag = read({ ...variables, "b.nerves_fw_validated": "0" }, "fw_slot=b");
    assert.equal(ownFlag.autoRevertDetected, false);
  });

  it("is not seen while an update that this boot installed waits for its reboot", () => {
    for (const commandLine of ["fw_slot=a", ""]) {
      const firmware = read(UPDATED_TO_B, commandLine, "a");
      assert.equal(firmware.slot, "a");
      assert.equal(firmware.version, "1.0.0");
      assert.equal(firmware.validated, true);
      assert.equal(firmware.rebootPending, true);
      assert.equal(firmware.autoRevertDetected, false);
      assert.equal(firmware.correction.size, 0);
    }
  });
});

describe("an update goes to", () => {
  it("the slot that does not run", () => {
    assert.deepEqual([otherSlot("a"), otherSlot("b")], ["b", "a"]);
    assert.equal(targetSlot(read(UPDATED_TO_B, "fw_slot=a")), "b");
    assert.equal(targetSlot(read(UPDATED_TO_B, "fw_slot=b")), "a");
  });

  it("no slot on a board without slots", () => {
    assert.equal(targetSlot(read({ nerves_fw_uuid: "u" })), "");
  });

  it("no slot while another update waits for its reboot", () => {
    assert.throws(() => targetSlot(read(UPDATED_TO_B, "", "a")), {
      name: "Failure",
      kind: "unavailable",
      message: /waits for its reboot; reboot first/,
    });
  });
});
