/**
 * Checks the board itself, and whether the programs are there that the configuration's command lines begin with.
 * Nothing is opened or run: opening a watchdog would arm it, requesting a GPIO line would drive it, and
 * `reboot.command` would reboot the board.
 */
import { access, constants } from "node:fs/promises";
import { latestPossible } from "../board/clock-guard.ts";
import { findLine } from "../board/gpio-line.ts";
import { describeWatchdog, watchdogFacts } from "../board/kernel-watchdog.ts";
import { Led } from "../board/led.ts";
import { missingPrivileges } from "../board/privileges.ts";
import type { Config } from "../config/schema.ts";
import { Failure, fileFailure } from "../platform/failure.ts";
import type { World } from "../platform/world.ts";
import { ownAccount } from "../remote/account.ts";
import { BUILD_DATE_MS } from "../version.ts";
import type { CheckReport } from "./check-report.ts";

/** Checks user, locks, clock, watchdogs and LED. */
export async function checkBoard(config: Config, world: World, report: CheckReport): Promise<void> {
  checkUser(config, world, report);
  await checkLocks(world, report);
  checkClock(world, report);
  await checkKernelWatchdog(config, world, report);
  await checkGpioWatchdog(config, world, report);
  await checkLed(config, world, report);
}

function checkUser(config: Config, world: World, report: CheckReport): void {
  if (process.getuid?.() !== 0) report.add("ok", "user", ownAccount().name);
  for (const missing of missingPrivileges(config, world)) report.add("warn", "user", missing);
}

/** The agent works without, so a board keeps its agent; but nothing keeps two of them apart for sure. */
async function checkLocks(world: World, report: CheckReport): Promise<void> {
  try {
    await checkProgram("flock", world);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    const text = `${error.message}: two hublinks can't be kept apart; install flock of util-linux or BusyBox`;
    report.add("warn", "locks", text);
  }
}

function checkClock({ clock }: World, report: CheckReport): void {
  const now = new Date(clock.now()).toISOString();
  if (clock.now() < BUILD_DATE_MS)
    report.add("warn", "clock", `${now} is before hublink was built: it is not set`);
  else if (clock.now() > latestPossible(BUILD_DATE_MS))
    report.add("warn", "clock", `${now} can't be right: it is more than 20 years after hublink was built`);
  else report.add("ok", "clock", now);
}

async function checkKernelWatchdog(
  { watchdog: { device } }: Config,
  world: World,
  report: CheckReport,
): Promise<void> {
  if (device === "") return;
  try {
    report.add("ok", "watchdog", describeWatchdog(device, await watchdogFacts(device, world)));
  } catch (error) {
    report.fail("watchdog", "watchdog.device", error);
  }
}

async function checkGpioWatchdog(
  { watchdog: { gpio } }: Config,
  world: World,
  report: CheckReport,
): Promise<void> {
  if (gpio.line === "") return;
  try {
    const found = await findLine(gpio.line, world);
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

async function checkLed({ identify: { led } }: Config, world: World, report: CheckReport): Promise<void> {
  if (led === "") return;
  try {
    report.add("ok", "LED", (await Led.open(led, world)).name);
  } catch (error) {
    report.fail("LED", "identify.led", error);
  }
}

/** The command lines that the configuration makes use of, each with its setting; empty where none is set. */
function commandsOf(config: Config): [setting: string, line: string][] {
  const { update, validation, reboot, watchdog, connectivity, identify } = config;
  const { archives, component: components, extensions, geo, logging, networkIdentity } = config;
  const services = Object.entries(networkIdentity.services);
  return [
    ["update.policy_command", update.policyCommand],
    ["validation.command", validation.command],
    ["reboot.command", reboot.command],
    ["watchdog.command", watchdog.command],
    ["connectivity.command", connectivity.afterMs > 0 ? connectivity.command : ""],
    ["identify.command", identify.command],
    ["archives.ready_command", archives.enabled ? archives.readyCommand : ""],
    ["geo.source", extensions.geo ? commandIn(geo.source) : ""],
    ["logging.command", extensions.logging ? logging.command : ""],
    ...services.map(([service, source]): [string, string] => [
      `network_identity.services.${service}`,
      extensions.networkIdentity ? commandIn(source) : "",
    ]),
    ...components.flatMap(({ identifier: name, action: actions, mode: modes }): [string, string][] => [
      ...actions.map(({ identifier, command }): [string, string] => [
        `component ${name}.${identifier}`,
        command,
      ]),
      ...modes.flatMap(({ identifier, get, set }): [string, string][] => [
        [`component ${name}.${identifier}, get`, get],
        [`component ${name}.${identifier}, set`, set],
      ]),
    ]),
  ];
}

function commandIn(source: string): string {
  return /^(?:command:|json:\S* )(.*)$/s.exec(source)?.[1] ?? "";
}

/** Checks the program of each command line. */
export async function checkCommands(config: Config, world: World, report: CheckReport): Promise<void> {
  for (const [setting, line] of commandsOf(config)) {
    if (line === "") continue;
    const program = programOf(line);
    try {
      if (program !== undefined) await checkProgram(program, world);
      report.add("ok", "command", `${setting}: ${program ?? withoutArguments(line)}`);
    } catch (error) {
      report.fail("command", setting, error);
    }
  }
}

/** Words that the shell itself obeys, and variables by their names. */
const SHELL_WORD =
  /^(?:[[\](){};&|<>!]+|if|then|elif|else|fi|while|until|for|do|done|case|esac|in|"?\$\w+"?)$/;
/** Behind these words stands a program. */
const BEFORE_PROGRAM = /^(?:[({;&|!]+|if|then|elif|else|while|until|do)$/;
/** A variable that is set for a program: `TOKEN=… program`. */
const ASSIGNMENT = /^\w+=/;

/**
 * The program that a command line begins with, behind variables that are set for it; undefined for lines that only a
 * shell understands.
 */
function programOf(line: string): string | undefined {
  const words = line.trim().split(/\s+/);
  const first = words.find((word) => !ASSIGNMENT.test(word) || /["'`$\\;&|<>()]/.test(word)) ?? "";
  return /^[\w./+:-]+$/.test(first) && !SHELL_WORD.test(first) ? first : undefined;
}

/** A line for the shell as people may see it: programs and the shell's own words. Arguments may hold passwords. */
function withoutArguments(line: string): string {
  const shown: string[] = [];
  let before = ";";
  for (const word of line.trim().split(/\s+/)) {
    const isProgram = BEFORE_PROGRAM.test(before) && /^[\w./+:-]+;?$/.test(word);
    const piece = isProgram || SHELL_WORD.test(word) ? word : "…";
    if (piece !== "…" || shown.at(-1) !== "…") shown.push(piece);
    if (piece === "…" && /["'`\\]/.test(word)) break; // where its text ends is for a shell to say
    if (!ASSIGNMENT.test(word)) before = word.endsWith(";") ? ";" : word;
  }
  return shown.join(" ");
}

/**
 * Checks one program by its path.
 * @param what its name in a message
 * @throws Failure when the file is missing or can't be run
 */
export async function checkExecutable(what: string, path: string): Promise<void> {
  try {
    await access(path, constants.X_OK);
  } catch (error) {
    throw fileFailure(what, path, error);
  }
}

/** @throws Failure when the program is missing or can't be run */
async function checkProgram(program: string, { clock, run }: World): Promise<void> {
  if (program.includes("/")) {
    await checkExecutable("command", program);
    return;
  }
  const known = await run(["/bin/sh", "-c", 'command -v -- "$1"', "sh", program], {
    clock,
    timeoutMs: 5000,
  });
  if (known.exitCode !== 0) throw new Failure("command_failed", `command ${program} is not on the PATH`);
}
