/** Variables of boards in typical states, and short forms to read them and to compare changes. */
import { readSlots, type RunningFirmware, type Slot } from "../../src/firmware/slots.ts";

export type Values = Readonly<Record<string, string>>;

export const FIRMWARE_A: Values = {
  "a.nerves_fw_uuid": "uuid-of-v1",
  "a.nerves_fw_version": "1.0.0",
  "a.nerves_fw_product": "demo-board",
  "a.nerves_fw_platform": "rpi0",
  "a.nerves_fw_architecture": "arm",
};
export const FIRMWARE_B: Values = {
  "b.nerves_fw_uuid": "uuid-of-v2",
  "b.nerves_fw_version": "2.0.0",
  "b.nerves_fw_product": "demo-board",
  "b.nerves_fw_platform": "rpi0",
  "b.nerves_fw_architecture": "arm",
};
/** The variables after fwup installed an update into b while a was running. */
export const UPDATED_TO_B: Values = {
  ...FIRMWARE_A,
  ...FIRMWARE_B,
  nerves_fw_active: "b",
  nerves_fw_validated: "0",
  upgrade_available: "1",
  bootcount: "0",
};

/** The running firmware according to `variables` and the kernel's command line. */
export function read(variables: Values, kernelCommandLine = "", installedFrom?: Slot): RunningFirmware {
  const boot =
    installedFrom === undefined ? undefined : { slot: installedFrom, active: installedFrom, installed: true };
  return readSlots({ variables: new Map(Object.entries(variables)), kernelCommandLine, boot });
}

/** Changes as an object, which deepEqual prints well. */
export const toObject = (changes: ReadonlyMap<string, string | null>): unknown => Object.fromEntries(changes);

/** The variables after `changes` are written. */
export function after(variables: Values, changes: ReadonlyMap<string, string | null>): Values {
  const result = new Map<string, string>(Object.entries(variables));
  for (const [name, value] of changes) {
    if (value === null) result.delete(name);
    else result.set(name, value);
  }
  return Object.fromEntries(result);
}
