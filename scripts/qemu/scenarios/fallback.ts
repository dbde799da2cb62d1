import type { Board, Scenario } from "../board.ts";
import type { Version } from "../parts.ts";

/** New firmware never proves good: U-Boot goes back to the old one, and the board puts off the same update. */
export const fallback = fallsBack("3.0.0", async (board) => {
  await board.joins("3.0.0");
  board.say("its own test says that it isn't good, until the time for that is over");
  await board.message("rebooting");
});

/** New firmware looks for its hub at a wrong address: the board goes back by itself, and reports why. */
export const unreachable = fallsBack("4.0.0", async (board) => {
  board.say("it looks for its hub where nobody is, until the time to prove good is over");
  await board.line(/trying to reboot \(method=reboot\)/);
  board.say("the agent reboots the board");
});

/** @param onTrial waits for what the new firmware does from its start to its reboot */
function fallsBack(version: Version, onTrial: (board: Board) => Promise<void>): Scenario {
  return {
    async play(board) {
      board.powerOn();
      await board.boots("a", "1.0.0");

      await board.deploy(version);
      await board.progress(100);
      await board.message("rebooting");

      await board.starts("b", version, "on trial");
      await onTrial(board);

      await board.line(/^boot: slot b was not validated, going back to slot a$/);
      await board.boots("a", "1.0.0");
      if (!board.device.autoRevertDetected) throw new Error("the fall-back was not reported to the hub");
      board.say("the hub knows: firmware_auto_revert_detected");
      await board.message("status_update", ({ status, reason }) => {
        return status === "rescheduled" && /fell back from this firmware/.test(String(reason));
      });
    },
  };
}
