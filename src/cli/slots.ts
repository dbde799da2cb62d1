/**
 * The commands that change which slot boots: validate, revert and reboot. The daemon does it when one runs.
 * Otherwise validate, revert and apply do it themselves, with the daemon's lock: two of them would write to the
 * journal and the slots at once.
 */
import * as v from "valibot";
import type { Config } from "../config/schema.ts";
import { connectToDaemon } from "../control/client.ts";
import { ControlServer } from "../control/server.ts";
import { type BoardFirmware, endLeftFwup, openBoardFirmware } from "../firmware/board-firmware.ts";
import { openJournal } from "../firmware/journal.ts";
import { Failure } from "../platform/failure.ts";
import { VERSION } from "../version.ts";
import { commandLog, readConfig, runningDaemon } from "./config.ts";
import { lockForCommand } from "./state-lock.ts";
import type { CommandContext } from "./terminal.ts";

/** `hublink validate`: marks the running slot good. */
export async function validate(context: CommandContext): Promise<void> {
  await changeSlots(context, "validate", "mark_valid", async (firmware) => firmware.validate());
  context.terminal.stdout.write("the running slot is marked good\n");
}

/** `hublink revert`: makes the other slot the one to boot. */
export async function revert(context: CommandContext): Promise<void> {
  await changeSlots(context, "revert", "revert", async (firmware) => firmware.revert());
  context.terminal.stdout.write("the other slot is the one to boot now; hublink reboot starts it\n");
}

const WaitsForUpdate = v.object({ waits_for_update: v.literal(true) });

/** `hublink reboot`: the daemon reports the reboot to the hub and carries it out. */
export async function reboot(context: CommandContext): Promise<void> {
  const { state } = await readConfig(context);
  const daemon = await runningDaemon({ path: state.controlSocket }, "use the system's own reboot command");
  let waits: boolean;
  try {
    waits = v.is(WaitsForUpdate, await daemon.request("reboot", { reason: "hublink reboot" }));
  } finally {
    daemon.close();
  }
  context.terminal.stdout.write(
    waits
      ? "an update is under way; the board reboots when it has ended, as `hublink status` shows\n"
      : "the board is rebooting\n",
  );
}

async function changeSlots(
  context: CommandContext,
  command: string,
  method: string,
  change: (firmware: BoardFirmware) => Promise<void>,
): Promise<void> {
  const config = await readConfig(context);
  const daemon = await connectToDaemon({ path: config.state.controlSocket });
  if (daemon === undefined) {
    await withSlotsLocked(config, context, command, async () => change(await openSlots(config, context)));
    return;
  }
  try {
    await daemon.request(method);
  } finally {
    daemon.close();
  }
}

/** The firmware on this board, for a command that works without the daemon. */
export async function openSlots(config: Config, context: CommandContext): Promise<BoardFirmware> {
  const log = commandLog(config, context, "error");
  const { world } = context;
  const journal = await openJournal(config.state.dir, log);
  return await openBoardFirmware({
    config: config.firmware,
    journal,
    root: world.root,
    clock: world.clock,
    log,
  });
}

/** The daemon's methods, each of which answers that a command is at work. */
const LOCKED_METHODS = ["status", "apply", "mark_valid", "revert", "reboot", "upload", "metrics"];

/**
 * Does the daemon's work while none runs. Until `work` ends it holds the daemon's lock, so that neither a daemon nor
 * a second command can start, and its control socket, which tells them why.
 * @throws Failure when another hublink is at work, or the control socket can't be used
 * @throws the errors of `work`
 */
export async function withSlotsLocked<T>(
  config: Config,
  context: CommandContext,
  command: string,
  work: () => Promise<T>,
): Promise<T> {
  const busy = (): never => {
    throw new Failure("unavailable", `hublink ${command} is at work; try again when it has ended`);
  };
  const server = new ControlServer({
    path: config.state.controlSocket,
    mode: 0o600,
    group: "",
    agentVersion: VERSION,
    clock: context.world.clock,
    log: commandLog(config, context, "error"),
  });
  const lock = await lockForCommand(config, context);
  try {
    await server.start(Object.fromEntries(LOCKED_METHODS.map((method) => [method, busy])));
    const { clock, root } = context.world;
    await endLeftFwup({ config: config.firmware, root, clock, log: commandLog(config, context, "warn") });
    return await work();
  } finally {
    await server.stop();
    await lock.release();
  }
}
