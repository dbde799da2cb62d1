import type { Scenario } from "../board.ts";

/** An agent that hangs does not feed the kernel's watchdog, which resets the board. */
export const softdog: Scenario = {
  board: {
    // QEMU's BCM2835 watchdog has no countdown: it resets the board as soon as it is armed.
    startup: "insmod /lib/modules/softdog.ko soft_margin=20",
    config: { watchdog: { device: "/dev/watchdog1" } },
  },
  async play(board) {
    board.powerOn();
    await board.boots("a", "1.0.0");
    await board.memory();
    await board.memory();
    board.say("the watchdog of 20 s is fed");
    await board.run("kill -STOP $(pidof hublink)");
    board.say("the agent is stopped, as if it hung");
    await board.line(/softdog: Initiating system reboot/);
    board.say("the kernel resets the board");
    await board.boots("a", "1.0.0");
  },
};
