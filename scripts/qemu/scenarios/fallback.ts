import type { Board } from "../board.ts";

/** New firmware never proves good: U-Boot goes back to the old one, and the board doesn't fall for it again. */
export async function fallback(board: Board): Promise<void> {
  board.powerOn();
  await board.boots("a", "1.0.0");

  await board.deploy("3.0.0");
  await board.progress(100);
  await board.message("rebooting");

  await board.boots("b", "3.0.0", "on trial");
  board.say("its own test says that it isn't good, until the time for that is over");
  await board.message("rebooting");

  await board.line(/^boot: slot b was not validated, going back to slot a$/);
  await board.boots("a", "1.0.0");
  if (!board.device.autoRevertDetected) throw new Error("the hub was not told of the fall-back");
  board.say("the hub knows: firmware_auto_revert_detected");
  await board.message("status_update", ({ status, reason }) => {
    return status === "rescheduled" && /fell back from this firmware/.test(String(reason));
  });
}
