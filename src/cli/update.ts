/**
 * `hublink update`: has the hub send its update for this board, says what it would send, or chooses who starts updates.
 * The daemon asks the hub, since a hub has one connection for each board.
 */
import * as v from "valibot";
import type { ControlClient } from "../control/client.ts";
import { UpdateChecked, UpdateRequested } from "../control/messages.ts";
import { Failure } from "../platform/failure.ts";
import { printable } from "../platform/text.ts";
import { readConfig, runningDaemon } from "./config.ts";
import { formatSpan, ProgressBar } from "./progress-bar.ts";
import type { Arguments, CommandContext } from "./terminal.ts";
import { showUpdateEvent, UPDATE_EVENTS } from "./update-events.ts";

/** The words of the command line for the hub's. */
const MODES: ReadonlyMap<string, string> = new Map([
  ["automatic", "automatic"],
  ["device-managed", "device_managed"],
]);

/** `hublink update [--check] [--mode MODE]`. */
export async function update(
  context: CommandContext,
  { has, valueOf }: Arguments<"check" | "mode">,
): Promise<void> {
  const chosen = valueOf("mode");
  const mode = chosen === undefined ? undefined : MODES.get(chosen);
  if (chosen !== undefined && mode === undefined) {
    throw new Failure("usage", `--mode takes automatic or device-managed, not ${printable(chosen)}`);
  }
  if (mode !== undefined && has("check")) throw new Failure("usage", "give either --check or --mode");
  const { state } = await readConfig(context);
  const bar = new ProgressBar(context.terminal, context.world.clock);
  const daemon = await runningDaemon(
    {
      path: state.controlSocket,
      subscribe: UPDATE_EVENTS,
      onEvent: (event, payload) => showUpdateEvent(event, payload, context, bar),
    },
    "start it with hublink run",
  );
  try {
    if (mode !== undefined) await choose(daemon, mode, context);
    else if (has("check")) await check(daemon, context);
    else await install(daemon, bar, context);
  } finally {
    daemon.close();
  }
}

async function choose(daemon: ControlClient, mode: string, { terminal }: CommandContext): Promise<void> {
  await daemon.request("update_mode", { mode });
  const who =
    mode === "automatic" ? "the hub starts this board's updates" : "this board starts its own updates";
  terminal.stdout.write(`${who} from now on\n`);
}

async function check(daemon: ControlClient, { terminal }: CommandContext): Promise<void> {
  const { available, firmware } = v.parse(UpdateChecked, await daemon.request("update_check"));
  if (!available || firmware === null) {
    terminal.stdout.write("the hub has no update for this board\n");
    return;
  }
  const { product, version, uuid } = firmware;
  terminal.stdout.write(`${printable(`${product} ${version}`.trim() || uuid)} is there for this board\n`);
}

async function install(daemon: ControlClient, bar: ProgressBar, { terminal }: CommandContext): Promise<void> {
  let done = false;
  try {
    const answer = v.parse(UpdateRequested, await daemon.request("update_request", { wait: true }));
    done = answer.granted;
    bar.end(done);
    if (answer.granted) {
      const { uuid, version } = answer.firmware;
      terminal.stdout.write(`installed ${printable(version || uuid)}; hublink reboot starts it\n`);
      return;
    }
    const { reason, delay_s: delay } = answer;
    if (delay === null) throw new Failure("failed", `the hub sends no update: ${printable(reason)}`);
    terminal.stdout.write(
      `the hub is busy: ${printable(reason)}; the daemon asks again in ${formatSpan(delay * 1000)}\n`,
    );
  } finally {
    if (!done) bar.end(false);
  }
}
