import type { Scenario } from "../board.ts";

/** The hub asks for a reboot, and the agent reboots the board with the system's command. */
export const reboot: Scenario = {
  async play(board) {
    board.powerOn();
    await board.boots("a", "1.0.0");
    board.hub.reboot(board.device.identifier);
    board.say("the hub asks for a reboot");
    await board.message("rebooting");
    await board.line(/trying to reboot \(method=reboot\)/);
    await board.line(/reboot: Restarting system/);
    board.say("the kernel restarts the board");
    await board.boots("a", "1.0.0");
  },
};
