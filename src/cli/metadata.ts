/** `hublink metadata`: prints what a .fw says about itself; also for developers, whose machine is not a board. */
import { defaultConfig } from "../config/check.ts";
import { loadConfig } from "../config/load.ts";
import { type FirmwareMetadata, readMetadata } from "../firmware/metadata.ts";
import { printableJson, shortened } from "../platform/text.ts";
import { type Arguments, columnsOf, type CommandContext, renderRows } from "./terminal.ts";

/** `hublink metadata FILE [--json]`: needs no configuration, but uses the fwup of one if there is one. */
export async function metadata(
  context: CommandContext,
  { operand: file, has }: Arguments<"json">,
): Promise<void> {
  const found = await readMetadata({ fwup: await fwupOf(context), clock: context.world.clock, file });
  const { stdout } = context.terminal;
  stdout.write(
    has("json") ? `${printableJson(jsonOf(found), 2)}\n` : renderRows(rowsOf(found), columnsOf(stdout)),
  );
}

/** Characters of one value; meta.conf has room for 50 000. */
const MAX_SHOWN = 1024;

/** The value that `--json` prints; docs/command-line.md has its keys, which stay. */
function jsonOf(found: FirmwareMetadata): Readonly<Record<string, string | null>> {
  const text = (value: string | undefined): string | null =>
    value === undefined || value === "" ? null : shortened(value, MAX_SHOWN);
  return {
    uuid: found.uuid,
    product: text(found.product),
    version: text(found.version),
    platform: text(found.platform),
    architecture: text(found.architecture),
    author: text(found.author),
    description: text(found.description),
    vcs_identifier: text(found.vcsIdentifier),
    misc: text(found.misc),
    creation_date: text(found.creationDate),
  };
}

function rowsOf(found: FirmwareMetadata): [string, string][] {
  return Object.entries(jsonOf(found)).flatMap(([key, value]) =>
    value === null ? [] : [[key.replaceAll("_", "-"), value]],
  );
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
