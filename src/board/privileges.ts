/**
 * The privileges that an agent which is not root needs beyond its files. `check` and the start name them before the
 * first reboot fails. Files that can't be opened are reported where they are used.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { systemCode } from "../platform/failure.ts";
import type { World } from "../platform/world.ts";

/** Parts of root's power that the agent may need: bits in the kernel's sets (linux/capability.h). */
const CAPABILITIES = { CAP_SYS_BOOT: 22n, CAP_SYS_TIME: 25n } as const;

/**
 * Lists, one line each, what the configuration wants and the system does not permit the agent to do.
 */
export function missingPrivileges(
  { reboot, clock }: Pick<Config, "reboot" | "clock">,
  world: World,
): string[] {
  const own = effectiveCapabilities(world);
  const lacks = (name: keyof typeof CAPABILITIES): boolean => ((own >> CAPABILITIES[name]) & 1n) === 0n;
  const missing: string[] = [];
  if (reboot.methods.includes("syscall") && reboot.command === "" && lacks("CAP_SYS_BOOT"))
    missing.push(
      "without CAP_SYS_BOOT the agent can't reboot the board: give it that, or set reboot.command",
    );
  if (clock.guard && lacks("CAP_SYS_TIME"))
    missing.push("without CAP_SYS_TIME the agent can't set the board's clock, and counts on by itself");
  return missing;
}

/** This process's (proc(5), `CapEff`); all of them where the system does not list any. */
function effectiveCapabilities({ root }: World): bigint {
  let status = "";
  try {
    status = readFileSync(join(root, "proc/self/status"), "utf8");
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
  }
  const [, set] = /^CapEff:\s*([0-9a-f]+)$/m.exec(status) ?? [];
  return set === undefined ? -1n : BigInt(`0x${set}`);
}
