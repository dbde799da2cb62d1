/**
 * `hublink check`: reads everything that the daemon will need, in the order in which the daemon needs it, and
 * goes on after a failure, so that one call shows all that is wrong. The other check-*.ts files have the parts
 * that need more room.
 */
import type { Config } from "../config/schema.ts";
import {
  checkDevpath,
  checkFile,
  fwupVersion,
  listTasks,
  usablePublicKeys,
  writesUnverified,
} from "../firmware/fwup.ts";
import { loadDownloadTrust, loadTrust } from "../identity/trust.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { silentLog } from "../platform/log.ts";
import { chooseProxy } from "../platform/proxy.ts";
import type { World } from "../platform/world.ts";
import { accountOf, ownAccount } from "../remote/account.ts";
import { findTerminalBackend } from "../remote/terminal-backends.ts";
import { checkBoard, checkCommands, checkExecutable } from "./check-board.ts";
import { checkConnection, checkIdentity } from "./check-identity.ts";
import { CheckReport } from "./check-report.ts";
import { checkArchives, checkUpdates } from "./check-updates.ts";
import { checkedConfig } from "./config.ts";
import { openSlots } from "./slots.ts";
import type { Arguments, CommandContext } from "./terminal.ts";

/**
 * `hublink check`: prints what it found.
 * @throws Failure with the code of the first finding that is wrong, after all findings are printed
 */
export async function check(context: CommandContext, { has }: Arguments<"connect" | "json">): Promise<void> {
  const { world } = context;
  const report = new CheckReport(context, has("json"));
  const { config, warnings } = await checkedConfig(context).catch((error: unknown) => {
    if (error instanceof Failure) report.unusable(error);
    throw error;
  });
  report.add("ok", "configuration", context.config ?? "/etc/hublink/config.toml");
  for (const warning of warnings) report.add("warn", "configuration", warning);
  const identity = await checkIdentity(config, world, report);
  await checkTrust(config, world, report);
  checkProxy(config, report);
  if (has("connect") && identity !== undefined) await checkConnection(config, identity, world, report);
  await checkFwup(config, world, report);
  await checkUpdates(config, world, report);
  await checkSlots(config, context, report);
  checkKeys(config, report);
  await checkConsole(config, world, report);
  checkScripts(config, report);
  await checkArchives(config, report);
  checkExtensions(config, report);
  await checkCommands(config, world, report);
  await checkBoard(config, world, report);
  report.end();
}

function checkProxy({ hub }: Config, report: CheckReport): void {
  try {
    const proxy = chooseProxy(hub.proxy, process.env)(new URL(hub.url));
    if (proxy !== undefined) report.add("ok", "proxy", `${proxy.name}, to the hub`);
  } catch (error) {
    report.fail("proxy", "hub.proxy", error);
  }
}

async function checkTrust(config: Config, world: World, report: CheckReport): Promise<void> {
  try {
    const { source, ca } = await loadTrust(config.hub.caFile, world);
    report.add("ok", "hub", config.hub.url);
    report.add("ok", "CA", `${ca.length} from ${source}`);
  } catch (error) {
    report.fail("CA", "hub.ca_file", error);
    return;
  }
  try {
    const { source, ca } = await loadDownloadTrust(config.firmware.caFile, config.hub.caFile, world);
    report.add("ok", "CA, downloads", `${ca.length} from ${source}`);
  } catch (error) {
    report.fail("CA, downloads", "firmware.ca_file", error);
  }
}

async function checkFwup(config: Config, { clock }: World, report: CheckReport): Promise<void> {
  const { fwup, opsFile: file } = config.firmware;
  try {
    const version = await fwupVersion({ fwup, clock });
    report.add("ok", "fwup", `${fwup} ${version}`);
    const unverified = config.update.verifyWritten ? writesUnverified(version) : undefined;
    if (unverified !== undefined)
      report.fail("fwup", "update.verify_written", new Failure("config", unverified));
  } catch (error) {
    report.fail("fwup", "firmware.fwup", error);
    return;
  }
  try {
    await checkFile("ops file", file);
    const tasks = await listTasks({ fwup, clock, file });
    report.add("ok", "ops file", `${file}: ${tasks.join(", ")}`);
  } catch (error) {
    const missing = error instanceof Failure && error.kind === "no-input";
    if (missing) report.add("warn", "ops file", `${messageOf(error)}; U-Boot variables are written directly`);
    else report.fail("ops file", "firmware.ops_file", error);
  }
}

async function checkSlots(config: Config, context: CommandContext, report: CheckReport): Promise<void> {
  const firmware = await openSlots(config, context);
  const { running, devpath } = firmware;
  if (running === undefined) {
    report.fail("slots", "firmware.uboot_env_config", firmware.problem);
  } else {
    const name = `${running.product ?? "?"} ${running.version ?? "?"} (${running.platform ?? "?"}/${running.architecture ?? "?"})`;
    const state = running.validated ? "validated" : "not validated yet";
    report.add("ok", "slots", running.slot === "" ? name : `slot ${running.slot}: ${name}, ${state}`);
    for (const warning of running.warnings) report.add("warn", "slots", warning);
    if (firmware.fellBack) report.add("warn", "slots", "the board fell back to this firmware");
  }
  try {
    await checkDevpath(devpath);
    report.add("ok", "device", devpath);
  } catch (error) {
    report.fail("device", "firmware.devpath", error);
  }
}

function checkKeys(config: Config, report: CheckReport): void {
  const { publicKeys: keys, trustHubKeys: trustHub } = config.firmware;
  if (usablePublicKeys(keys).length > 0) {
    report.add("ok", "public keys", `${keys.length} pinned; the hub's are not used`);
  } else if (trustHub) {
    report.add("ok", "public keys", "none pinned; the hub's are used");
  } else {
    report.add("warn", "public keys", "none, and the hub's are not trusted: every update will be refused");
  }
}

async function checkConsole(
  { console: settings, extensions }: Config,
  world: World,
  report: CheckReport,
): Promise<void> {
  if (!settings.enabled && !extensions.localShell) {
    report.add("ok", "console", "off");
    return;
  }
  try {
    const account = accountOf(settings.user);
    await checkExecutable("shell", settings.shell);
    const backend = await findTerminalBackend({ world, log: silentLog });
    const who = account?.name ?? ownAccount().name;
    if (backend.isTerminal) report.add("ok", "console", `${settings.shell} as ${who}, by ${backend.name}`);
    else {
      const missing = "no terminal: neither busybox telnetd nor script works here";
      report.add("warn", "console", `${settings.shell} as ${who} on pipes, ${missing}`);
    }
  } catch (error) {
    report.fail("console", "console", error);
  }
}

function checkScripts({ scripts }: Config, report: CheckReport): void {
  report.add("ok", "scripts", scripts.enabled ? `on, by ${scripts.interpreter.join(" ")}` : "off");
}

function checkExtensions({ component, extensions }: Config, report: CheckReport): void {
  const components = extensions.components || component.length > 0;
  const on = Object.entries({ ...extensions, components }).flatMap(([name, isOn]) => (isOn ? [name] : []));
  report.add("ok", "extensions", on.length === 0 ? "off" : on.join(", "));
}
