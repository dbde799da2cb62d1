/** `hublink metadata`: prints what a .fw says about itself; also for developers, whose machine is not a board. */
import { defaultConfig } from "../config/check.ts";
import { loadConfig } from "../config/load.ts";
import { readMetadata } from "../firmware/metadata.ts";
import { type Arguments, columnsOf, type CommandContext, renderRows } from "./terminal.ts";

/** `hublink metadata FILE`: needs no configuration, but uses the fwup of one if there is one. */
export async function metadata(context: CommandContext, { operand: file }: Arguments): Promise<void> {
  const found = await readMetadata({ fwup: await fwupOf(context), clock: context.world.clock, file });
  const rows = Object.entries(found)
    .filter((row): row is [string, string] => typeof row[1] === "string" && row[1] !== "")
    .map(([key, value]) => [key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`), value] as const);
  context.terminal.stdout.write(renderRows(rows, columnsOf(context.terminal.stdout)));
}

async function fwupOf({ config: path, env }: CommandContext): Promise<string> {
  if (path !== undefined) return (await loadConfig({ path, env })).config.firmware.fwup;
  try {
    return (await loadConfig({ env })).config.firmware.fwup;
  } catch {
    // A developer's machine has no usable configuration.
    return env["HUBLINK_FIRMWARE__FWUP"] ?? defaultConfig().firmware.fwup;
  }
}
