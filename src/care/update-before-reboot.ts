import type { Updater } from "../update/engine.ts";
import { within, type Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";

/** An update that makes no step for so long waits for its network, or hangs. */
const STILL_MS = 60_000;
const LOOK_MS = 5000;

/**
 * Waits before a reboot for the update under way, as long as it goes on. One that stands still is left:
 * it is in the other slot, which is invalid until the last byte is written, and begins anew after the boot.
 */
export async function awaitUpdate(updater: Updater, clock: Clock, log: Log): Promise<void> {
  const stillForMs = (): number | undefined => updater.status.stillForMs;
  // Of one that is being decided nothing is written, and an answer that comes now finds the board rebooting.
  if (stillForMs() === undefined || updater.status.state === "deciding") return;
  log.warn("the reboot waits for the update under way");
  const settled = updater.settled().then(() => true);
  while (!(await within(clock, LOOK_MS, settled, false))) {
    if ((stillForMs() ?? 0) < STILL_MS) continue;
    log.warn("the reboot waits no longer for the update: it stands still", { for_s: STILL_MS / 1000 });
    return;
  }
}
