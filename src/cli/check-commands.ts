/** Whether the programs are there that the configuration's command lines begin with. They are not run. */
import { access, constants } from "node:fs/promises";
import type { Config } from "../config/schema.ts";
import { systemClock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { Failure, fileFailure } from "../platform/failure.ts";
import type { CheckReport } from "./check-report.ts";

/** The command lines that the configuration makes use of, each with its setting; empty where none is set. */
function commandsOf(config: Config): [setting: string, line: string][] {
  const { update, validation, reboot, watchdog, connectivity, identify } = config;
  const { archives, extensions, geo, logging, networkIdentity } = config;
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
  ];
}

function commandIn(source: string): string {
  return /^(?:command:|json:\S* )(.*)$/s.exec(source)?.[1] ?? "";
}

/** Checks the program of each command line. */
export async function checkCommands(config: Config, report: CheckReport): Promise<void> {
  for (const [setting, line] of commandsOf(config)) {
    if (line === "") continue;
    const program = programOf(line);
    try {
      if (program !== undefined) await checkProgram(program);
      report.add("ok", "command", `${setting}: ${program ?? line}`);
    } catch (error) {
      report.fail("command", setting, error);
    }
  }
}

/** The program that a command line begins with; undefined for lines that only a shell understands. */
function programOf(line: string): string | undefined {
  return /^\s*([\w./+:-]+)(?=\s|$)/.exec(line)?.[1];
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
async function checkProgram(program: string): Promise<void> {
  if (program.includes("/")) {
    await checkExecutable("command", program);
    return;
  }
  const known = await runCommand(["/bin/sh", "-c", 'command -v -- "$1"', "sh", program], {
    clock: systemClock,
    timeoutMs: 5000,
  });
  if (known.exitCode !== 0) throw new Failure("command_failed", `command ${program} is not on the PATH`);
}
