/**
 * `hublink apply`. With a daemon, the update goes through it, so that the hub and the application hear of it
 * and only one update runs. Without one, the command does the same work itself. Either way an interrupted
 * update leaves the running slot as it was.
 */
import { addAbortListener } from "node:events";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import * as v from "valibot";
import { downloadSettings, fwupSettings } from "../agent/settings.ts";
import type { Config } from "../config/schema.ts";
import { connectToDaemon, type ControlClient } from "../control/client.ts";
import { checkDevpath, usablePublicKeys } from "../firmware/fwup.ts";
import { unlessAborted } from "../platform/clock.ts";
import { failedWith, Failure, messageOf } from "../platform/failure.ts";
import { FAILURES } from "../platform/failures.ts";
import { redact } from "../platform/log.ts";
import { makeScratch } from "../platform/scratch.ts";
import { isHttpUrl, printable, schemeProblem } from "../platform/text.ts";
import { decide, whyForeign } from "../update/decide.ts";
import { localOffer, type Offer, streamOffer } from "../update/offers.ts";
import { Updater } from "../update/updater.ts";
import { commandLog, readConfig } from "./config.ts";
import { type Progress, ProgressBar } from "./progress-bar.ts";
import { openSlots, withSlotsLocked } from "./slots.ts";
import type { Arguments, CommandContext } from "./terminal.ts";
import { UPDATE_EVENTS, showUpdateEvent } from "./update-events.ts";

/** `hublink apply SOURCE`: installs a .fw, through the daemon when one runs. */
export async function apply(context: CommandContext, { operand, has }: Arguments<"force">): Promise<void> {
  const source = { name: operand, force: has("force") };
  const problem = existsSync(operand) ? undefined : schemeProblem(operand, ["http", "https"]);
  if (problem !== undefined) {
    const remedy = "name a file, an http:// or https:// URL, or - for standard input";
    throw new Failure("no_input", `firmware ${redact(operand)}: ${problem}; ${remedy}`);
  }
  const config = await readConfig(context);
  const bar = new ProgressBar(context.terminal, context.world.clock);
  const silence = watchSilence(operand, context);
  const daemon = await connectToDaemon({
    path: config.state.controlSocket,
    subscribe: UPDATE_EVENTS,
    onEvent: (event, payload) => {
      silence.end();
      showUpdateEvent(event, payload, context, bar);
    },
  });
  const show = (progress: Progress): void => {
    silence.end();
    bar.show(progress);
  };
  const interruption = listenForInterruption();
  let version: string | undefined;
  try {
    version =
      daemon === undefined
        ? await applyDirectly(context, config, source, show, interruption.signal)
        : await applyThroughDaemon(daemon, context, source, interruption.signal);
  } finally {
    silence.end();
    bar.end(version !== undefined);
    interruption.end();
    daemon?.close();
  }
  context.terminal.stdout.write(`installed ${printable(version)}; hublink reboot starts it\n`);
}

/** A server that answers is quicker than this, and a person begins to wonder. */
const SILENCE_MS = 3000;

/** Says whom the command waits for, if nothing comes of a URL at first; until `end` is called. */
function watchSilence(source: string, { terminal, world }: CommandContext): { end(): void } {
  if (!isHttpUrl(source) || !URL.canParse(source)) return { end: () => undefined };
  const { host } = new URL(source);
  const cancel = world.clock.after(SILENCE_MS, () => {
    terminal.stderr.write(`hublink: waiting for ${printable(host)}\n`);
  });
  return { end: cancel };
}

/** What is to be installed. */
interface Source {
  /** A file, a URL, or `-` for standard input. */
  readonly name: string;
  /** Also if it is for another product or board. */
  readonly force: boolean;
}

const Applied = v.object({ firmware: v.object({ uuid: v.string(), version: v.optional(v.string()) }) });

/** The daemon opens files and URLs itself. It gets standard input over a socket that is made for this. */
async function applyThroughDaemon(
  daemon: ControlClient,
  context: CommandContext,
  { name, force }: Source,
  interrupted: AbortSignal,
): Promise<string> {
  const request = async (from: string): Promise<string> => {
    const answer = daemon.request("apply", { source: from, ...(force && { force }) });
    const { firmware } = v.parse(Applied, await unlessAborted(answer, interrupted));
    return nameOf(firmware);
  };
  if (name !== "-") {
    try {
      return await request(isHttpUrl(name) ? name : resolve(name));
    } catch (error) {
      if (!failedWith(error, "stopped") || !interrupted.aborted) throw error;
      const text = "interrupted; the daemon goes on and installs it, as `hublink status` shows";
      throw new Failure("stopped", text);
    }
  }
  const folder = await makeScratch(); // nobody else connects
  const path = join(folder, "firmware.sock");
  const server = createServer((socket) => {
    server.close(); // one reader only
    pipeline(context.terminal.stdin, socket).catch(() => undefined); // the daemon reports why it stopped reading
  });
  try {
    await new Promise<void>((ready, failed) => server.once("error", failed).listen(path, ready));
    return await request(`unix:${path}`);
  } finally {
    server.close();
    context.terminal.stdin.destroy();
    await rm(folder, { recursive: true, force: true });
  }
}

async function applyDirectly(
  context: CommandContext,
  config: Config,
  source: Source,
  show: (progress: Progress) => void,
  interrupted: AbortSignal,
): Promise<string> {
  const { publicKeys } = config.firmware;
  if (usablePublicKeys(publicKeys).length === 0) {
    throw new Failure(
      "no_public_key",
      "firmware.public_keys is empty: without a key nothing is installed; set it",
    );
  }
  const log = commandLog(config, context, "error");
  return await withSlotsLocked(config, context, "apply", async () => {
    const offer =
      source.name === "-"
        ? streamOffer(context.terminal.stdin, source.force)
        : await fileOrUrl(config, source, context);
    const firmware = await openSlots(config, context);
    if (firmware.problem !== undefined) throw firmware.problem;
    await checkDevpath(firmware.devpath);
    const updater = new Updater({
      settings: fwupSettings(config),
      firmware,
      keys: { usable: () => publicKeys },
      approval: {
        decide: (candidate) =>
          decide(candidate, {
            firmware,
            pendingValidation: firmware.running?.validated === false,
            rebooting: false,
            rebootPending: false,
            allowDowngrade: config.update.allowDowngrade,
            backOff: () => undefined,
            untilWindowMs: 0,
          }),
        judge: (candidate, metadata) => {
          const foreign = whyForeign(candidate, metadata, firmware.running);
          if (foreign !== undefined) throw foreign;
        },
      },
      clock: context.world.clock,
      log,
    });
    updater.on("progress", (_, progress) => show(progress));
    const stop = (): void => {
      updater.stop(0).catch((error: unknown) => log.error(messageOf(error)));
    };
    interrupted.throwIfAborted();
    using _listener = addAbortListener(interrupted, stop);
    const outcome = await updater.apply(offer);
    if (outcome.result === "installed") return nameOf(outcome.firmware);
    interrupted.throwIfAborted();
    // An update that fails ends with exit code 1, with a daemon and without.
    const isOther = outcome.result === "failed" && FAILURES[outcome.failure].kind === "other";
    throw new Failure(isOther ? outcome.failure : "failed", outcome.reason);
  });
}

async function fileOrUrl(config: Config, source: Source, context: CommandContext): Promise<Offer> {
  const { world } = context;
  const log = commandLog(config, context, "warn");
  const settings = downloadSettings(config, world);
  return await localOffer(source.name, { ...settings, world, log }, source.force);
}

/** Listens to SIGINT and SIGTERM until `end` is called. */
function listenForInterruption(): { readonly signal: AbortSignal; end(): void } {
  const abort = new AbortController();
  const onSignal = (): void =>
    abort.abort(new Failure("stopped", "interrupted; what was not finished has to be applied again"));
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  return {
    signal: abort.signal,
    end: () => void process.off("SIGINT", onSignal).off("SIGTERM", onSignal),
  };
}

function nameOf({ uuid, version }: { readonly uuid: string; readonly version?: string | undefined }): string {
  return version === undefined ? uuid : `${version} (${uuid})`;
}
