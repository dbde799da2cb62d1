import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import * as v from "valibot";
import { ProgressPayload } from "../agent/control-messages.ts";
import { localOffer, streamOffer } from "../agent/offers.ts";
import type { Config } from "../config/schema.ts";
import { checkDevpath, usablePublicKeys } from "../firmware/fwup.ts";
import { createUpdater, type Offer, type Outcome } from "../firmware/update.ts";
import { loadTrust } from "../identity/trust.ts";
import { systemClock } from "../platform/clock.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { quietLog, readConfig } from "./config.ts";
import { connectToDaemon, type ControlClient } from "./control-client.ts";
import { formatBytes, formatSpan, renderProgress, type Progress } from "./progress-bar.ts";
import { openSlots } from "./slots.ts";
import type { CommandContext } from "./terminal.ts";

/** `hublink apply SOURCE`: installs a .fw through the daemon when one runs, else by itself. */
export async function apply(context: CommandContext, source: string): Promise<void> {
  const config = await readConfig(context);
  const bar = progressBar(context);
  const daemon = await connectToDaemon({
    path: config.state.control_socket,
    subscribe: ["update_progress"],
    onEvent: (event, payload) => {
      const progress = v.safeParse(ProgressPayload, payload);
      if (event === "update_progress" && progress.success) {
        bar.show({ ...progress.output, bytes: progress.output.bytes ?? 0 });
      }
    },
  });
  try {
    const version =
      daemon === undefined
        ? await applyHere(context, config, source, bar.show)
        : await applyThere(daemon, context, source);
    bar.end();
    context.terminal.stdout.write(`installed ${version}; hublink reboot starts it\n`);
  } catch (error) {
    bar.end();
    throw error;
  } finally {
    daemon?.close();
  }
}

const Applied = v.object({ firmware: v.object({ uuid: v.string(), version: v.optional(v.string()) }) });

/** The daemon opens files and URLs itself; standard input it gets over a socket made for this. */
async function applyThere(daemon: ControlClient, context: CommandContext, source: string): Promise<string> {
  const request = async (from: string): Promise<string> => {
    const { firmware } = v.parse(Applied, await daemon.request("apply", { source: from }));
    return nameOf(firmware);
  };
  if (/^https?:\/\//i.test(source)) return await request(source);
  if (source !== "-") return await request(resolve(source));
  const folder = await mkdtemp(join(tmpdir(), "hublink-")); // mode 0700: nobody else connects
  const path = join(folder, "firmware.sock");
  const server = createServer((socket) => {
    server.close(); // one reader only
    pipeline(context.terminal.stdin, socket).catch(() => undefined); // the daemon tells why it stopped reading
  });
  try {
    await new Promise<void>((ready, failed) => server.once("error", failed).listen(path, ready));
    return await request(`unix:${path}`);
  } finally {
    server.close();
    context.terminal.stdin.destroy();
    await rm(folder, { recursive: true });
  }
}

async function applyHere(
  context: CommandContext,
  config: Config,
  source: string,
  show: (progress: Progress) => void,
): Promise<string> {
  const { public_keys: publicKeys } = config.firmware;
  if (usablePublicKeys(publicKeys).length === 0) {
    throw new Failure("config", "firmware.public_keys is empty: without a key nothing is installed; set it");
  }
  const log = quietLog(config, context);
  const firmware = await openSlots(config, context);
  if (firmware.problem !== undefined) throw firmware.problem;
  await checkDevpath(firmware.devpath);
  const offer =
    source === "-" ? streamOffer(context.terminal.stdin) : await fileOrUrl(config, source, context);
  const updater = createUpdater({
    fwup: config.firmware.fwup,
    fwupArgs: config.firmware.fwup_args,
    fwupEnv: config.firmware.fwup_env,
    task: config.firmware.task,
    stallMs: config.update.stall_s * 1000,
    devpath: () => firmware.devpath,
    publicKeys: () => publicKeys,
    decide: () => ({ action: "apply" }),
    clearTarget: async (signal) => firmware.clearTarget(signal),
    undo: async () => firmware.keepRunning(),
    onInstalled: async (_, { uuid }) => firmware.noteInstalled(uuid, "local"),
    onNews: (_, news) => {
      if (news.type === "progress") show({ stage: "updating", ...news });
    },
    clock: systemClock,
    log,
  });
  const stop = (): void => {
    updater.stop(0).catch((error: unknown) => log.error(messageOf(error)));
  };
  process.once("SIGINT", stop).once("SIGTERM", stop);
  try {
    return installedName(await updater.apply(offer));
  } finally {
    process.off("SIGINT", stop).off("SIGTERM", stop);
  }
}

async function fileOrUrl(config: Config, source: string, context: CommandContext): Promise<Offer> {
  const { ca } = await loadTrust(config.hub.ca_file, "/");
  const log = quietLog(config, context);
  return await localOffer(source, {
    clock: systemClock,
    random: Math.random,
    log,
    retry: config.update.retry,
    ca,
  });
}

function installedName(outcome: Outcome): string {
  if (outcome.result !== "installed") throw new Failure("other", outcome.reason);
  return nameOf(outcome.firmware);
}

function nameOf({ uuid, version }: { readonly uuid: string; readonly version?: string | undefined }): string {
  return version === undefined ? uuid : `${version} (${uuid})`;
}

/** On a terminal one line that is drawn over and over; elsewhere nothing. */
function progressBar({ terminal: { stdout } }: CommandContext): {
  show: (progress: Progress) => void;
  end: () => void;
} {
  let startedMs: number | undefined;
  let last: Progress | undefined;
  const elapsedMs = (): number => systemClock.monotonic() - (startedMs ?? 0);
  return {
    show(progress) {
      if (!stdout.isTTY) return;
      startedMs ??= systemClock.monotonic();
      last = progress;
      stdout.write(`\r\x1b[K${renderProgress(progress, elapsedMs())}`);
    },
    end() {
      if (last === undefined) return;
      stdout.write(`\r\x1b[K${formatBytes(last.bytes)} in ${formatSpan(elapsedMs())}\n`);
      last = undefined;
    },
  };
}
