/**
 * Which slot runs, from the variables of the boot loader and the kernel's command line. Pure: read-slots.ts
 * reads them. The boot script says which slot it booted; the variables may name another one, when the boot
 * loader fell back or an update waits for its reboot.
 */
import { Failure } from "../platform/failure.ts";
import type { VariableChanges, Variables } from "./uboot-environment.ts";

export type Slot = "a" | "b";

/** The firmware in a slot, by the variables; undefined where a variable is missing. */
export interface FirmwareDescription {
  readonly uuid: string | undefined;
  readonly version: string | undefined;
  readonly product: string | undefined;
  readonly platform: string | undefined;
  readonly architecture: string | undefined;
  /** All its `nerves_fw_*` values, without the slot's prefix: sent to the hub at the join. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** The firmware that runs, and how the variables stand to it. */
export interface RunningFirmware extends FirmwareDescription {
  /** "" when the board has no slots, or nothing says which one runs (a warning says so). */
  readonly slot: Slot | "";
  /** False while it is on trial: the next boot falls back unless it is validated first. */
  readonly validated: boolean;
  /** The device fwup writes to, as `nerves_fw_devpath` names it. */
  readonly devpath?: string;
  /** The slot that boots next, as `nerves_fw_active` names it; undefined where it does not. */
  readonly active: Slot | undefined;
  /** Firmware was installed since the boot, by the agent or by somebody else, and only a reboot is missing. */
  readonly rebootPending: boolean;
  /** The boot loader gave up on the firmware in the other slot. */
  readonly autoRevertDetected: boolean;
  /** The firmware in the other slot, or that was there when it failed; missing without slots. */
  readonly other?: FirmwareDescription;
  /**
   * The changes that make the variables true; empty when they are. To be written once
   * `autoRevertDetected` has been reported, and in any case before an update or a revert: fwup picks
   * the slot to write by the variables, and would pick the running one.
   */
  readonly correction: VariableChanges;
  /** One line for each value that was ignored or is missing, for the log. */
  readonly warnings: readonly string[];
}

export interface SlotEvidence {
  readonly variables: Variables;
  /** The text of `/proc/cmdline`; `fw_slot=` and `fw_validated=` on it come from the boot script. */
  readonly kernelCommandLine: string;
  /**
   * What an earlier reading in this boot showed; undefined at the first one. After an installation the
   * variables rightly name the other slot, just as they do after the boot loader fell back: they can't tell
   * the two apart, so the caller's journal must.
   */
  readonly boot?: SlotsAtBoot | undefined;
}

/** How the slots stood when this boot was first seen. */
export interface SlotsAtBoot {
  /** The slot that this boot started from. */
  readonly slot: Slot | "";
  /** What `nerves_fw_active` named then, and after a correction names since. */
  readonly active: Slot | null;
  /** The agent has installed firmware since. */
  readonly installed: boolean;
}

/** Values of the board or of the boot loader, not of a firmware, although named like one's. */
const BOARD_VARIABLES: ReadonlySet<string> = new Set([
  "nerves_fw_active",
  "nerves_fw_autovalidate",
  "nerves_fw_booted",
  "nerves_fw_devpath",
  "nerves_fw_reverted",
  "nerves_fw_validated",
]);

/** Works out which firmware runs. Never throws: a value that can't be used is ignored with a warning. */
export function readSlots(evidence: SlotEvidence): RunningFirmware {
  const { variables, kernelCommandLine, boot } = evidence;
  const warnings: string[] = [];
  const booted = parseSlot(kernelParameter(kernelCommandLine, "fw_slot"), "fw_slot", warnings);
  const active = parseSlot(variables.get("nerves_fw_active"), "nerves_fw_active", warnings);
  const slot: Slot | "" = booted ?? (boot?.slot || (active ?? ""));
  const agree = active === undefined || active === slot;
  // Variables that named the other slot from the start tell of a fall-back; those that have come to name it
  // since tell of an installation, whoever made it.
  const switched = boot !== undefined && !agree && active !== boot.active;
  const rebootPending = switched || boot?.installed === true;
  const validated = isValidated(evidence, slot, agree, warnings);
  const reverted = (!agree && !rebootPending) || variables.get("nerves_fw_reverted") === "1";
  // Firmware on trial is never the result of a fall-back, even if other variables are stale.
  const autoRevertDetected = validated && reverted;
  const description = describeSlot(variables, slot);
  if (slot === "" && describesSlots(variables)) {
    warnings.push(
      "neither fw_slot= on the kernel command line nor nerves_fw_active says which slot runs; have the boot script pass fw_slot=a or fw_slot=b",
    );
  }
  const missing = missingFor(description, ["uuid", "version", "product", "platform", "architecture"]);
  if (missing.length > 0) {
    warnings.push(`the running firmware has no ${missing.join(", ")}; the hub can't tell what it is`);
  }
  const devpath = variables.get("nerves_fw_devpath") ?? "";
  const facts = { slot, validated, rebootPending, autoRevertDetected };
  return {
    ...description,
    ...facts,
    active,
    ...(devpath !== "" && { devpath }),
    ...(slot !== "" && { other: describeSlot(variables, otherSlot(slot)) }),
    correction: correct(variables, { ...facts, agree }),
    warnings,
  };
}

export function otherSlot(slot: Slot): Slot {
  return slot === "a" ? "b" : "a";
}

/**
 * The slot that an update is written to; "" on a board without slots.
 * @throws Failure `reboot_pending` while an update waits for its reboot: fwup would take the running slot
 */
export function targetSlot(running: RunningFirmware): Slot | "" {
  requireNoPendingReboot(running);
  return running.slot === "" ? "" : otherSlot(running.slot);
}

/** Why nothing else is done to the slots until the board has rebooted. */
export const REBOOT_PENDING = "an installed update waits for its reboot";

/** @throws Failure `reboot_pending` */
export function requireNoPendingReboot({ rebootPending }: Pick<RunningFirmware, "rebootPending">): void {
  if (rebootPending) {
    throw new Failure("reboot_pending", `${REBOOT_PENDING}; reboot first`);
  }
}

/**
 * Describes a slot's firmware. Where no variable has a slot's prefix, as in a metadata file that belongs to
 * the firmware itself, the unprefixed values count.
 */
export function describeSlot(variables: Variables, slot: Slot | ""): FirmwareDescription {
  const prefix = describesSlots(variables) ? `${slot}.` : "";
  const metadata: Record<string, string> = {};
  for (const [name, value] of variables) {
    if (name.startsWith(`${prefix}nerves_fw_`) && !BOARD_VARIABLES.has(name)) {
      metadata[name.slice(prefix.length)] = value;
    }
  }
  const get = (name: string): string | undefined => metadata[`nerves_fw_${name}`];
  return {
    uuid: get("uuid"),
    version: get("version"),
    product: get("product"),
    platform: get("platform"),
    architecture: get("architecture"),
    metadata,
  };
}

/** Which of the `needed` values a description lacks. */
export function missingFor(
  description: FirmwareDescription,
  needed: readonly Exclude<keyof FirmwareDescription, "metadata">[],
): readonly string[] {
  return needed.filter((name) => description[name] === undefined || description[name] === "");
}

function describesSlots(variables: Variables): boolean {
  return [...variables.keys()].some((name) => /^[ab]\.nerves_fw_/.test(name));
}

/**
 * Whether the running firmware is validated. fw_validated= on the command line is as old as the boot. It
 * decides, except that a "1" in variables that name the same slot is newer: the firmware was validated since.
 * Without it the slot's own flag decides, then the common one, then U-Boot's bootcount. Variables that name
 * another slot say nothing about this one; and firmware that was fallen back to was validated before.
 */
function isValidated(
  { variables, kernelCommandLine }: SlotEvidence,
  slot: Slot | "",
  agree: boolean,
  warnings: string[],
): boolean {
  const counting = variables.get("upgrade_available") === "1" ? "0" : undefined;
  const common = agree ? (variables.get("nerves_fw_validated") ?? counting) : undefined;
  const stored = variables.get(`${slot}.nerves_fw_validated`) ?? common;
  const passed = kernelParameter(kernelCommandLine, "fw_validated");
  if (passed === "1") return true;
  if (passed === "0") return stored === "1";
  if (passed !== undefined) {
    warnings.push(`fw_validated=${passed} on the kernel command line is neither 0 nor 1; ignored`);
  }
  return stored !== "0";
}

function correct(
  variables: Variables,
  found: Pick<RunningFirmware, "slot" | "validated" | "rebootPending" | "autoRevertDetected"> & {
    readonly agree: boolean;
  },
): VariableChanges {
  const changes: Changes = new Map();
  if (found.slot === "" || found.rebootPending) return changes;
  if (!found.agree) {
    changes.set("nerves_fw_active", found.slot);
    setWhereKept(variables, changes, "nerves_fw_validated", found.validated ? "1" : "0");
    if (found.validated) resetCounts(variables, changes);
  }
  if (found.autoRevertDetected) {
    // As the prevent-revert task of Nerves: nothing offers to revert to it any more, which would be for
    // good, as a revert makes validated what it goes to. uuid and version stay, to say what failed.
    const failed = otherSlot(found.slot);
    unset(variables, changes, `${failed}.nerves_fw_platform`);
    unset(variables, changes, `${failed}.nerves_fw_architecture`);
    setWhereKept(variables, changes, `${failed}.nerves_fw_validated`, "0");
  }
  unset(variables, changes, "nerves_fw_reverted");
  return changes;
}

function parseSlot(text: string | undefined, name: string, warnings: string[]): Slot | undefined {
  if (text === "a" || text === "b") return text;
  if (text !== undefined) warnings.push(`${name}=${text} is neither a nor b; ignored`);
  return undefined;
}

/**
 * The value of a parameter on the kernel's command line; of several the last, as for the kernel.
 * Double quotes keep blanks together.
 */
function kernelParameter(commandLine: string, name: string): string | undefined {
  const values = (commandLine.match(/(?:[^\s"]|"[^"]*")+/g) ?? [])
    .map((word) => word.replaceAll('"', ""))
    .filter((word) => word.startsWith(`${name}=`))
    .map((word) => word.slice(name.length + 1));
  return values.at(-1);
}

/** Changes under construction; null removes the variable. */
export type Changes = Map<string, string | null>;

/** Sets a variable on boards that keep it. */
export function setWhereKept(variables: Variables, changes: Changes, name: string, value: string): void {
  if (variables.has(name)) changes.set(name, value);
}

/** Removes a variable if it is there. */
export function unset(variables: Variables, changes: Changes, name: string): void {
  if (variables.has(name)) changes.set(name, null);
}

/** Sets the counters in which boot loaders and boot scripts count the boots of firmware on trial to 0. */
export function resetCounts(variables: Variables, changes: Changes): void {
  for (const name of ["upgrade_available", "bootcount", "nerves_fw_booted"]) {
    setWhereKept(variables, changes, name, "0");
  }
}
