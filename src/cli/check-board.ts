/**
 * Checks the board itself. Nothing is opened: opening a watchdog would arm it, and requesting
 * a GPIO line would drive it.
 */
import { findLine } from "../board/gpio-line.ts";
import { describeWatchdog, watchdogFacts } from "../board/kernel-watchdog.ts";
import { Led } from "../board/led.ts";
import { missingPrivileges } from "../board/privileges.ts";
import type { Config } from "../config/schema.ts";
import { systemClock } from "../platform/clock.ts";
import { systemWorld } from "../platform/world.ts";
import { ownAccount } from "../remote/account.ts";
import { BUILD_DATE_MS } from "../version.ts";
import type { CheckReport } from "./check-report.ts";

/** Checks user, clock, watchdogs and LED. */
export async function checkBoard(config: Config, report: CheckReport): Promise<void> {
  checkUser(config, report);
  checkClock(report);
  await checkKernelWatchdog(config, report);
  await checkGpioWatchdog(config, report);
  await checkLed(config, report);
}

function checkUser(config: Config, report: CheckReport): void {
  if (process.getuid?.() !== 0) report.add("ok", "user", ownAccount().name);
  for (const missing of missingPrivileges(config, "/")) report.add("warn", "user", missing);
}

function checkClock(report: CheckReport): void {
  const now = new Date(systemClock.now()).toISOString();
  if (systemClock.now() >= BUILD_DATE_MS) report.add("ok", "clock", now);
  else report.add("warn", "clock", `${now} is before hublink was built: it is not set`);
}

async function checkKernelWatchdog({ watchdog: { device } }: Config, report: CheckReport): Promise<void> {
  if (device === "") return;
  try {
    report.add("ok", "watchdog", describeWatchdog(device, await watchdogFacts(device, "/")));
  } catch (error) {
    report.fail("watchdog", "watchdog.device", error);
  }
}

async function checkGpioWatchdog({ watchdog: { gpio } }: Config, report: CheckReport): Promise<void> {
  if (gpio.line === "") return;
  try {
    const found = await findLine(gpio.line, systemWorld);
    const user = await found.user();
    report.add("ok", "GPIO watchdog", found.name);
    if (user !== undefined)
      report.add(
        "warn",
        "GPIO watchdog",
        `the line is in use by ${user}; fine if that is the running hublink`,
      );
  } catch (error) {
    report.fail("GPIO watchdog", "watchdog.gpio.line", error);
  }
}

async function checkLed({ identify: { led } }: Config, report: CheckReport): Promise<void> {
  if (led === "") return;
  try {
    report.add("ok", "LED", (await Led.open(led, systemWorld)).name);
  } catch (error) {
    report.fail("LED", "identify.led", error);
  }
}
