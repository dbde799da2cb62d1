import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { systemCode } from "../platform/failure.ts";

/** Parts of root's power that the agent may need: bits in the kernel's sets (linux/capability.h). */
const CAPABILITIES = { CAP_SYS_BOOT: 22n, CAP_SYS_TIME: 25n } as const;

/**
 * What the agent is not permitted to do of what its configuration has it do, as one line each.
 * Files that may not be used are told of by whatever uses them.
 * @param root the root folder, `/` on a board
 */
export function missingPrivileges(
  { reboot, clock }: Pick<Config, "reboot" | "clock">,
  root: string,
): string[] {
  const own = effectiveCapabilities(root);
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

/** Of this process (proc(5), `CapEff`); all of them where the system doesn't say. */
function effectiveCapabilities(root: string): bigint {
  let status = "";
  try {
    status = readFileSync(join(root, "proc/self/status"), "utf8");
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
  }
  const [, set] = /^CapEff:\s*([0-9a-f]+)$/m.exec(status) ?? [];
  return set === undefined ? -1n : BigInt(`0x${set}`);
}
