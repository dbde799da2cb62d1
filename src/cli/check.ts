import { boardIdentity } from "../agent/board-identity.ts";
import type { Config } from "../config/schema.ts";
import { notBuiltYet } from "../config/not-built-yet.ts";
import { checkDevpath, checkFile, fwupVersion, listTasks, usablePublicKeys } from "../firmware/fwup.ts";
import { loadTrust } from "../identity/trust.ts";
import { systemClock } from "../platform/clock.ts";
import { Failure, messageOf, type FailureKind } from "../platform/failure.ts";
import { silentLog } from "../platform/log.ts";
import { checkedConfig } from "./config.ts";
import { openSlots } from "./slots.ts";
import { columnsOf, wrap, type CommandContext } from "./terminal.ts";

type Mark = "ok" | "warn" | "FAIL";

/** Prints findings as they come, and keeps the first that is an error. */
interface Report {
  add(mark: Mark, subject: string, text: string): void;
  /** @param setting where in the configuration it may be put right */
  fail(subject: string, setting: string, error: unknown): void;
  /** @throws Failure that stands for the first thing that is wrong, if anything is */
  end(): void;
}

const MARK_WIDTH = 5;
const SUBJECT_WIDTH = 15;

/**
 * `hublink check`: reads everything the daemon will need and says what it found.
 * @throws Failure of the first thing that is wrong, after all was printed
 */
export async function check(context: CommandContext): Promise<void> {
  const report = createReport(context);
  const { config, warnings } = await checkedConfig(context);
  report.add("ok", "configuration", context.config ?? "/etc/hublink/config.toml");
  for (const warning of warnings) report.add("warn", "configuration", warning);
  for (const line of notBuiltYet(config)) report.add("warn", "not built yet", line);
  await checkIdentity(config, report);
  await checkTrust(config, report);
  await checkFwup(config, report);
  await checkSlots(config, context, report);
  checkKeys(config, report);
  report.end();
}

async function checkIdentity(config: Config, report: Report): Promise<void> {
  try {
    const identity = await boardIdentity(config, "/", systemClock, silentLog);
    const { source, certificate, warnings } = identity.describe();
    report.add("ok", "identity", `${identity.identifier}, ${source}`);
    if (certificate !== undefined) {
      const until = certificate.notAfter.toISOString().slice(0, 10);
      report.add("ok", "certificate", `${certificate.subject}, valid until ${until}`);
    }
    for (const warning of warnings) report.add("warn", "identity", warning);
  } catch (error) {
    report.fail("identity", `identity.${config.identity.source.replace("-", "_")}`, error);
  }
}

async function checkTrust(config: Config, report: Report): Promise<void> {
  try {
    const { source, ca } = await loadTrust(config.hub.ca_file, "/");
    report.add("ok", "hub", config.hub.url);
    report.add("ok", "CA", `${ca.length} from ${source}`);
  } catch (error) {
    report.fail("CA", "hub.ca_file", error);
  }
}

async function checkFwup(config: Config, report: Report): Promise<void> {
  const { fwup, ops_file: file } = config.firmware;
  try {
    report.add("ok", "fwup", `${fwup} ${await fwupVersion({ fwup, clock: systemClock })}`);
  } catch (error) {
    report.fail("fwup", "firmware.fwup", error);
    return;
  }
  try {
    await checkFile("ops file", file);
    const tasks = await listTasks({ fwup, clock: systemClock, file });
    report.add("ok", "ops file", `${file}: ${tasks.join(", ")}`);
  } catch (error) {
    const missing = error instanceof Failure && error.kind === "no-input";
    if (missing) report.add("warn", "ops file", `${messageOf(error)}; U-Boot variables are written directly`);
    else report.fail("ops file", "firmware.ops_file", error);
  }
}

async function checkSlots(config: Config, context: CommandContext, report: Report): Promise<void> {
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

function checkKeys(config: Config, report: Report): void {
  const { public_keys: keys, trust_hub_keys: trustHub } = config.firmware;
  if (usablePublicKeys(keys).length > 0) {
    report.add("ok", "public keys", `${keys.length} pinned; the hub's are not used`);
  } else if (trustHub) {
    report.add("ok", "public keys", "none pinned; the hub's are used");
  } else {
    report.add("warn", "public keys", "none, and the hub's are not trusted: every update will be refused");
  }
}

function createReport({ terminal }: CommandContext): Report {
  const indent = MARK_WIDTH + SUBJECT_WIDTH;
  const failures: { readonly kind: FailureKind; readonly text: string }[] = [];
  const add = (mark: Mark, subject: string, text: string): void => {
    const value = wrap(text, indent, columnsOf(terminal.stdout));
    terminal.stdout.write(`${mark.padEnd(MARK_WIDTH)}${subject.padEnd(SUBJECT_WIDTH)}${value}\n`);
  };
  return {
    add,
    fail(subject, setting, error) {
      const message = messageOf(error);
      const text = message.includes(setting) ? message : `${message} (see ${setting})`;
      failures.push({ kind: error instanceof Failure ? error.kind : "other", text });
      add("FAIL", subject, text);
    },
    end() {
      const [first, ...more] = failures;
      if (first === undefined) return;
      const rest = more.length === 0 ? "" : ` (and ${more.length} more)`;
      throw new Failure(first.kind, `${first.text}${rest}`);
    },
  };
}
