import { setTimeout } from "node:timers/promises";
import type { Board, Scenario } from "../board.ts";
import { patience } from "../patience.ts";

const GPIO = 17;
/** How often the host reads the line, and how long it waits for a step. */
const LOOK_MS = 20;
const STEP_MS = 120_000;

/** The line of an external watchdog toggles, and stops for a reboot. In the second mode the agent pulses it instead. */
export const gpioWatchdog: Scenario = {
  board: {
    config: {
      // An external watchdog would have reset the board within this time; this board has none.
      reboot: { methods: ["gpio-watchdog", "syscall"], escalate_s: 10 },
      watchdog: { gpio: { line: String(GPIO), mode: "toggle", period_ms: 1000, pulse_ms: 3000 } },
    },
  },
  async play(board) {
    board.powerOn();
    await board.boots("a", "1.0.0");
    await changes(board, 6);
    board.say(`the host sees GPIO${GPIO} toggle`);

    board.hub.reboot(board.device.identifier);
    board.say("the hub asks for a reboot");
    await board.message("rebooting");
    await board.line(/trying to reboot \(method=gpio-watchdog\)/);
    const systemCall = board.line(/trying to reboot \(method=reboot\)/);
    if ((await changesUntil(board, systemCall)) > 1) throw new Error("the line is fed still");
    board.say("it rests, and as no watchdog hangs on it the board is still up: the system is asked instead");
    await board.boots("a", "1.0.0");

    await board.run("sed -i 's/toggle/pulse/' /data/etc/config.toml && kill -HUP $(pidof hublink)");
    await board.joins("1.0.0");
    board.hub.reboot(board.device.identifier);
    board.say("now by a pulse of 3 s; the hub asks for a reboot again");
    await board.message("rebooting");
    await board.line(/trying to reboot \(method=gpio-watchdog\)/);
    const again = board.line(/trying to reboot \(method=reboot\)/);
    const edges = await changesUntil(board, again);
    if (edges !== 2) throw new Error(`the host has seen no pulse, but ${edges} changes`);
    board.say("the host has seen the pulse, and then the system is asked");
    await board.boots("a", "1.0.0");
  },
};

/** Waits until the line has changed `times` times. */
async function changes(board: Board, times: number): Promise<void> {
  const late = setTimeout(patience(STEP_MS), "late" as const, { ref: false });
  const seen = await changesUntil(board, late, times);
  if (seen < times) throw new Error(`GPIO${GPIO} has changed ${seen} times only`);
}

/** Counts the changes of the line until `event` settles, or until there were `enough`. */
async function changesUntil(board: Board, event: Promise<unknown>, enough = Infinity): Promise<number> {
  const seen = { event: false };
  const note = (): void => void (seen.event = true);
  event.then(note, note);
  let high = await board.isHigh(GPIO);
  let count = 0;
  while (!seen.event && count < enough) {
    await setTimeout(LOOK_MS);
    const now = await board.isHigh(GPIO);
    if (now !== high) count += 1;
    high = now;
  }
  if (seen.event) await event;
  return count;
}
