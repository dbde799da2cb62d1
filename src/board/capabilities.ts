import { readFileSync } from "node:fs";
import { join } from "node:path";
import { systemCode } from "../platform/failure.ts";

/** Bits in the kernel's sets (linux/capability.h). */
const BITS = { CAP_SYS_BOOT: 22n, CAP_SYS_TIME: 25n } as const;

/** A part of root's power that the agent may need. */
export type Capability = keyof typeof BITS;

/**
 * Whether this process has it (proc(5), `CapEff`); a system that doesn't say is taken to grant all.
 * @param root the root folder, `/` on a board
 */
export function hasCapability(capability: Capability, root: string): boolean {
  let status: string;
  try {
    status = readFileSync(join(root, "proc/self/status"), "utf8");
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return true;
  }
  const [, effective] = /^CapEff:\s*([0-9a-f]+)$/m.exec(status) ?? [];
  return effective === undefined || ((BigInt(`0x${effective}`) >> BITS[capability]) & 1n) === 1n;
}
