import type { Scenario } from "../board.ts";

/** The power fails while a slot is written: the board boots the old slot, and the update succeeds afterwards. */
export const powercut: Scenario = {
  async play(board) {
    board.powerOn();
    await board.boots("a", "1.0.0");
    await board.deploy("2.0.0");
    await board.progress(50);
    await board.cutPower();

    board.powerOn();
    await board.boots("a", "1.0.0");
    board.say("the hub offers it again");
    await board.progress(100);
    await board.message("rebooting");
    await board.boots("b", "2.0.0", "on trial");
    await board.message("firmware_validated");
  },
};
