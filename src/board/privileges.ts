import { hasCapability } from "./capabilities.ts";
import type { RebootConfig } from "./reboot-methods.ts";

/**
 * What the agent is not permitted to do of what its configuration has it do, as one line each.
 * Files that may not be used are told of by whatever uses them.
 * @param root the root folder, `/` on a board
 */
export function missingPrivileges(
  { reboot, clock }: { readonly reboot: RebootConfig; readonly clock: { readonly guard: boolean } },
  root: string,
): string[] {
  const missing: string[] = [];
  if (reboot.methods.includes("syscall") && reboot.command === "" && !hasCapability("CAP_SYS_BOOT", root))
    missing.push(
      "without CAP_SYS_BOOT the agent can't reboot the board: give it that, or set reboot.command",
    );
  if (clock.guard && !hasCapability("CAP_SYS_TIME", root))
    missing.push("without CAP_SYS_TIME the agent can't set the board's clock, and counts on by itself");
  return missing;
}
