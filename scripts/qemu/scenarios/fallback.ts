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

/** The new slot's kernel is damaged, and would hang: U-Boot sees that, and does not start it. */
export const tornKernel = fallsBack("5.0.0", {
  async instead(board) {
    await board.line(/^boot: slot b: its kernel is damaged$/);
    board.say("U-Boot does not start slot b: its kernel is damaged");
  },
});

/** The new slot's kernel hangs: the watchdog that U-Boot armed for it resets the board. */
export const armedWatchdog = fallsBack("7.0.0", {
  async instead(board) {
    await board.line(/^boot: the watchdog is armed$/);
    board.say("U-Boot arms the watchdog for slot b, and the watchdog resets the board");
  },
});

/** The agent of the new firmware never starts: the board goes back without it. */
export const deadAgent = fallsBack("6.0.0", async (board) => {
  await board.line(/ended with status 127 after/);
  board.say("the agent is damaged, and does not start");
  await board.line(/the agent of the firmware on trial does not answer: rebooting/);
  board.say("it has not answered three times: its supervisor reboots the board");
});

/** @param trial waits for what the new firmware does from its start to its reboot, or what U-Boot does instead */
function fallsBack(
  version: Version,
  trial: ((board: Board) => Promise<void>) | { readonly instead: (board: Board) => Promise<void> },
): Scenario {
  return {
    async play(board) {
      board.powerOn();
      await board.boots("a", "1.0.0");

      await board.deploy(version);
      await board.progress(100);
      await board.message("rebooting");

      if (typeof trial === "object") {
        await trial.instead(board);
      } else {
        await board.starts("b", version, "on trial");
        await trial(board);
      }

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
