/** When updates come, who has a say in them, where their bytes go first, and how fast those may come. */
import type { Config } from "../config/schema.ts";
import { cacheRoom } from "../download/cache.ts";
import { usablePublicKeys } from "../firmware/fwup.ts";
import type { World } from "../platform/world.ts";
import { failedWith } from "../platform/failure.ts";
import { untilWindowMs } from "../update/windows.ts";
import type { CheckReport } from "./check-report.ts";

const MIB = 1024 * 1024;

/** Checks time windows, application, rate limit and cache. */
export async function checkUpdates(config: Config, world: World, report: CheckReport): Promise<void> {
  checkWindows(config, world, report);
  checkApplication(config, report);
  const { mode, cacheDir: folder, rateLimitKibS: kibPerSecond } = config.update;
  if (kibPerSecond > 0) report.add("ok", "downloads", `at ${kibPerSecond} KiB/s at most`);
  if (mode === "stream") report.add("ok", "updates", "streamed; a restart of the board starts them over");
  else
    await checkRoom("updates", folder, report, {
      ok: (room) => `cached in ${folder}, room for ${room}; else streamed`,
      warn: (why) => `streamed: ${why} (see update.cache_dir)`,
    });
}

/** Checks the archives, which come beside the firmware. */
export async function checkArchives({ archives, firmware }: Config, report: CheckReport): Promise<void> {
  const { enabled, dir } = archives;
  if (!enabled) {
    report.add("ok", "archives", "off");
    return;
  }
  const pinned = usablePublicKeys(firmware.publicKeys).length > 0;
  if (!pinned && !firmware.trustHubKeys) {
    report.add("warn", "archives", "no key pinned, and the hub's are not trusted: every one will be refused");
    return;
  }
  const keys = pinned ? "pinned keys" : "the hub's keys";
  await checkRoom("archives", dir, report, {
    ok: (room) => `kept in ${dir}, room for ${room}; by ${keys}`,
    warn: (why) => `none can be kept: ${why} (see archives.dir)`,
  });
}

function checkWindows({ update: { window: windows } }: Config, { clock }: World, report: CheckReport): void {
  if (windows.length === 0) return;
  const now = new Date(clock.now());
  const time = `${two(now.getHours())}:${two(now.getMinutes())}`;
  const state = untilWindowMs(windows, now.getTime(), 0) === 0 ? "open" : "closed";
  report.add("ok", "windows", `${windows.join(", ")}; it is ${time} here (${zoneOf(now)}), so ${state} now`);
}

/** The offset of the local time, such as UTC+05:30. */
function zoneOf(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  const offset = `${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
  return minutes === 0 ? "UTC" : `UTC${minutes < 0 ? "-" : "+"}${offset}`;
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

function checkApplication({ app }: Config, report: CheckReport): void {
  const asked = [
    ...(app.update === "ask" ? ["updates"] : []),
    ...(app.reboot === "ask" ? ["the reboots after them"] : []),
  ];
  const left = app.reboot === "never" ? ["reboots after updates are left to it"] : [];
  const says = asked.length === 0 ? [] : [`asked about ${asked.join(" and ")}`];
  if (says.length + left.length > 0) report.add("ok", "application", [...says, ...left].join("; "));
}

async function checkRoom(
  subject: string,
  folder: string,
  report: CheckReport,
  words: { readonly ok: (room: string) => string; readonly warn: (why: string) => string },
): Promise<void> {
  try {
    report.add("ok", subject, words.ok(`${Math.floor((await cacheRoom(folder)) / MIB)} MiB`));
  } catch (error) {
    if (!failedWith(error, "cache_failed")) throw error;
    report.add("warn", subject, words.warn(error.message));
  }
}
