/**
 * The changes to the boot loader's variables that mark a slot good, make one invalid, or go back to the other.
 * Pure: board-firmware.ts reads and writes the variables. Each refuses a change that could leave the board
 * without a slot to boot.
 */
import { Failure } from "../platform/failure.ts";
import {
  type Changes,
  describeSlot,
  missingFor,
  otherSlot,
  requireNoPendingReboot,
  resetCounts,
  type RunningFirmware,
  setWhereKept,
  type Slot,
  unset,
} from "./slots.ts";
import type { VariableChanges, Variables } from "./uboot-environment.ts";

/**
 * The changes that mark the running firmware good and the one to boot: its flag, and the boot loader's
 * counts back at their start where it keeps any. `nerves_fw_booted` left at 1 would have a boot script
 * that counts by it leave the next update untried.
 * @throws Failure `reboot_pending` while an update waits for its reboot: the common flag is that one's
 */
export function validation(variables: Variables, running: RunningFirmware): VariableChanges {
  requireNotSwitched(variables, running);
  const changes: Changes = new Map();
  const ownFlag = `${running.slot}.nerves_fw_validated`;
  setWhereKept(variables, changes, ownFlag, "1");
  if (variables.has("nerves_fw_validated") || !variables.has(ownFlag))
    changes.set("nerves_fw_validated", "1");
  if (running.slot !== "") setWhereKept(variables, changes, "nerves_fw_active", running.slot);
  resetCounts(variables, changes);
  return changes;
}

/**
 * The changes that make a slot's description invalid, so that nothing offers to boot what is about to
 * be overwritten. To be written before the first byte of an update: fwup's own unsetting is lost when
 * it is killed.
 * @throws Failure `usage` for the running slot, and when it is not known which one that is
 */
export function invalidation(variables: Variables, running: RunningFirmware, slot: Slot): VariableChanges {
  if (running.slot === "" || running.slot === slot) {
    const why = running.slot === "" ? "may be" : "is";
    throw new Failure("usage", `slot ${slot} ${why} running; only the other slot can be made invalid`);
  }
  const changes: Changes = new Map();
  for (const name of ["version", "platform", "architecture", "uuid"]) {
    unset(variables, changes, `${slot}.nerves_fw_${name}`);
  }
  setWhereKept(variables, changes, `${slot}.nerves_fw_validated`, "0");
  return changes;
}

/**
 * The changes that make the next boot run the other slot, as validated firmware.
 *
 * They reach a boot loader that picks the slot by the variables. They can't swap an MBR partition table
 * or rewrite a boot partition, as many layouts need: that is what the `revert` task of
 * `firmware.ops_file` is for, and these changes only for boards without one.
 * @throws Failure `slots_unknown` when there is no other slot; `unavailable` when it holds no valid firmware or
 *   the boot loader gave up on it; `reboot_pending` while an update waits for its reboot
 */
export function reversion(variables: Variables, running: RunningFirmware): VariableChanges {
  requireNotSwitched(variables, running);
  if (running.slot === "") {
    throw new Failure("slots_unknown", "it is not known which slot runs, so there is none to revert to");
  }
  const slot = otherSlot(running.slot);
  const missing = missingFor(describeSlot(variables, slot), ["uuid", "platform", "architecture"]);
  let problem: string | undefined;
  if (running.autoRevertDetected) problem = "the boot loader has just fallen back from it";
  else if (missing.length > 0) problem = `no ${missing.join(", ")}`;
  else if ((variables.get(`${slot}.nerves_fw_validated`) ?? "1") !== "1") problem = "it was never validated";
  if (problem !== undefined) {
    throw new Failure(
      "unavailable",
      `slot ${slot} holds no valid firmware to revert to (${problem}); install an update instead`,
    );
  }
  const changes: Changes = new Map([["nerves_fw_active", slot]]);
  setWhereKept(variables, changes, "nerves_fw_validated", "1");
  resetCounts(variables, changes);
  return changes;
}

/** An update may have been installed since `running` was read: the variables agreed then and don't now. */
function requireNotSwitched(variables: Variables, running: RunningFirmware): void {
  const active = variables.get("nerves_fw_active");
  const switched =
    running.slot !== "" && active === otherSlot(running.slot) && !running.correction.has("nerves_fw_active");
  requireNoPendingReboot({ rebootPending: running.rebootPending || switched });
}
