import type { Variables } from "./uboot-environment.ts";

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

/** Starts over what boot loaders and boot scripts count the boots of firmware on trial in. */
export function resetCounts(variables: Variables, changes: Changes): void {
  for (const name of ["upgrade_available", "bootcount", "nerves_fw_booted"]) {
    setWhereKept(variables, changes, name, "0");
  }
}
