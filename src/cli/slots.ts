import { openBoardFirmware, type BoardFirmware } from "../firmware/board-firmware.ts";
import { openJournal } from "../firmware/journal.ts";
import type { Config } from "../config/schema.ts";
import { systemClock } from "../platform/clock.ts";
import { Failure } from "../platform/failure.ts";
import { readConfig, quietLog } from "./config.ts";
import { connectToDaemon } from "../control/client.ts";
import { insteadOfDaemon } from "./instead-of-daemon.ts";
import type { CommandContext } from "./terminal.ts";

/** The firmware as it is on this board, for a command that works without the daemon. */
export async function openSlots(config: Config, context: CommandContext): Promise<BoardFirmware> {
  const log = quietLog(config, context);
  const journal = await openJournal(config.state.dir, log);
  return await openBoardFirmware({ config: config.firmware, journal, root: "/", clock: systemClock, log });
}

/** `hublink validate`: marks the running slot good, by the daemon when one runs. */
export async function validate(context: CommandContext): Promise<void> {
  await changeSlots(context, "validate", "mark_valid", async (firmware) => firmware.validate());
  context.terminal.stdout.write("the running slot is marked good\n");
}

/** `hublink revert`: makes the other slot the one to boot. */
export async function revert(context: CommandContext): Promise<void> {
  await changeSlots(context, "revert", "revert", async (firmware) => firmware.revert());
  context.terminal.stdout.write("the other slot is the one to boot now; hublink reboot starts it\n");
}

/** `hublink reboot`: the daemon tells the hub and does it. */
export async function reboot(context: CommandContext): Promise<void> {
  const config = await readConfig(context);
  const path = config.state.controlSocket;
  const daemon = await connectToDaemon({ path });
  if (daemon === undefined) {
    throw new Failure("unavailable", `no daemon listens on ${path}; use the system's own reboot command`);
  }
  try {
    await daemon.request("reboot", { reason: "hublink reboot" });
  } finally {
    daemon.close();
  }
  context.terminal.stdout.write("the board is rebooting\n");
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
    const log = quietLog(config, context);
    await insteadOfDaemon(config, log, command, async () => change(await openSlots(config, context)));
    return;
  }
  try {
    await daemon.request(method);
  } finally {
    daemon.close();
  }
}
