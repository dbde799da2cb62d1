/**
 * Drives a watchdog's line through the real onoff, whose path of sysfs is fixed: runs in a mount namespace
 * whose /sys/class/gpio is a folder of the test's. Prints what became of the line, one step per line.
 */
import { existsSync, readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { GpioWatchdog } from "../../src/board/gpio-watchdog.ts";
import { messageOf } from "../../src/platform/failure.ts";
import { FakeClock } from "../platform/fake-clock.ts";
import { testWorld } from "../platform/world.ts";
import { recordingLog } from "./recording-log.ts";

const [line = "", mode = "toggle", polarity = "high", user = "root"] = process.argv.slice(2);
const clock = new FakeClock();
const lines: string[] = [];
const read = (file: string): string => readFileSync(`/sys/class/gpio/gpio529/${file}`, "utf8").trim();
const say = (step: string): void => void process.stdout.write(`${step}: ${read("value")}\n`);
let well = true;

try {
  if (user !== "root") process.setuid?.(user);
  const watchdog = await GpioWatchdog.open({
    config: {
      line,
      activeLow: polarity === "low",
      mode: mode === "pulse" ? "pulse" : "toggle",
      periodMs: 1000,
      pulseMs: 200,
    },
    mayFeed: () => well,
    world: testWorld({ clock }),
    log: recordingLog(lines),
  });
  process.stdout.write(`${watchdog.name}\ndirection: ${read("direction")}\n`);
  for (let second = 1; second <= 3; second += 1) {
    await clock.advance(1000);
    say(`after ${second} s`);
  }
  well = false;
  await clock.advance(5000);
  say("not well");
  well = true;
  await clock.advance(1000);
  say("well again");
  const resetting = watchdog.reset(new AbortController().signal);
  say("reset");
  await clock.advance(200);
  await resetting;
  say("after 200 ms");
  await clock.advance(5000);
  say("after 5 s");
  await watchdog.stop();
  for (let tries = 0; existsSync("/sys/class/gpio/gpio529") && tries < 500; tries += 1) await setTimeout(10);
  process.stdout.write(`exported: ${existsSync("/sys/class/gpio/gpio529")}\ntimers: ${clock.pending}\n`);
} catch (error) {
  process.stdout.write(`${messageOf(error)}\n`);
}
for (const text of lines) process.stdout.write(`${text}\n`);
