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
/** An update to b was installed over a running a: what fwup leaves behind. */
export const UPDATED_TO_B: Values = {
  ...FIRMWARE_A,
  ...FIRMWARE_B,
  nerves_fw_active: "b",
  nerves_fw_validated: "0",
  upgrade_available: "1",
  bootcount: "0",
};

/** The running firmware as `variables` and the kernel's command line have it. */
export function read(variables: Values, kernelCommandLine = "", installedFrom?: Slot): RunningFirmware {
  return readSlots({ variables: new Map(Object.entries(variables)), kernelCommandLine, installedFrom });
}

/** Changes in a form that deepEqual shows well. */
export const toObject = (changes: ReadonlyMap<string, string | null>): unknown => Object.fromEntries(changes);

/** What is left of `variables` once `changes` are written. */
export function after(variables: Values, changes: ReadonlyMap<string, string | null>): Values {
  const result = new Map<string, string>(Object.entries(variables));
  for (const [name, value] of changes) {
    if (value === null) result.delete(name);
    else result.set(name, value);
  }
  return Object.fromEntries(result);
}
