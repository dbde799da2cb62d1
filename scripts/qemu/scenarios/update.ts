import type { Scenario } from "../board.ts";

/** A board gets new firmware over the network, proves it good, and keeps it over a reboot. */
export const update: Scenario = {
  async play(board) {
    board.powerOn();
    await board.boots("a", "1.0.0");
    await board.memory();

    await board.deploy("2.0.0");
    await board.progress(100);
    await board.message("rebooting");

    await board.boots("b", "2.0.0", "on trial");
    await board.message("firmware_validated");
    const variables = await board.run("fw_printenv nerves_fw_active nerves_fw_validated");
    for (const expected of ["nerves_fw_active=b", "nerves_fw_validated=1"]) {
      if (!variables.includes(expected))
        throw new Error(`fw_printenv doesn't say ${expected}:\n${variables}`);
    }
    board.say("fw_printenv on the board: nerves_fw_active=b, nerves_fw_validated=1");
    await board.memory();

    board.hub.reboot(board.device.identifier);
    board.say("the hub asks for a reboot");
    await board.message("rebooting");
    await board.boots("b", "2.0.0");
  },
};
