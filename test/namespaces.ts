/** Why a test that needs namespaces is skipped: in a container root itself may not make any. */
import { spawnSync } from "node:child_process";

/**
 * @param args for unshare(1), with a command that shows that it works
 * @returns false when it works, else unshare's own reason
 */
export function cannotUnshare(...args: readonly string[]): string | false {
  const { status, stderr, error } = spawnSync("unshare", args, { encoding: "utf8" });
  if (status === 0) return false;
  return `needs namespaces: ${error?.message ?? stderr.trim()}`;
}
