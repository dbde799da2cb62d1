/**
 * Reads from the board which firmware runs: the kernel's command line, and the U-Boot environment or the
 * file that `firmware.metadata` names. slots.ts draws the conclusions.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../config/schema.ts";
import { Failure, fileFailure, systemCode } from "../platform/failure.ts";
import { readSlots, type RunningFirmware, type SlotEvidence, type SlotsAtBoot } from "./slots.ts";
import { readEnvironment, type Variables } from "./uboot-environment.ts";

/** What the board says of its slots. */
export type SlotSources = Pick<SlotEvidence, "variables" | "kernelCommandLine">;

/**
 * Reads the kernel's command line, and the variables or the metadata file.
 * @param root the root folder, `/` on a board
 * @throws Failure that names the configuration, file, line or device at fault
 */
export async function readSlotSources(
  { metadata, ubootEnvConfig }: Pick<Config["firmware"], "metadata" | "ubootEnvConfig">,
  root: string,
): Promise<SlotSources> {
  const kernelCommandLine = await readCommandLine(join(root, "proc/cmdline"));
  const variables =
    metadata === "uboot-env"
      ? await readEnvironment(ubootEnvConfig)
      : await readMetadataFile(metadata.replace(/^file:/, ""));
  return { variables, kernelCommandLine };
}

/**
 * Which firmware runs. A metadata file belongs to the firmware it describes and is not rewritten, so it shows
 * no fall-back and needs no correction.
 */
export function runningFirmware(
  { metadata }: Pick<Config["firmware"], "metadata">,
  sources: SlotSources,
  boot?: SlotsAtBoot,
): RunningFirmware {
  const firmware = readSlots({ ...sources, boot });
  if (metadata === "uboot-env") return firmware;
  return { ...firmware, autoRevertDetected: false, correction: new Map() };
}

/**
 * Parses lines `key=value`; a value may stand in double quotes, as fwup's and shell's do. Blank
 * lines and lines that start with # are skipped.
 * @throws Failure `config` naming `path` and the line
 */
function parseMetadataFile(text: string, path: string): Variables {
  const variables = new Map<string, string>();
  for (const [index, rawLine] of text.split("\n").entries()) {
    const line = rawLine.trim();
    if (line === "" || line.startsWith("#")) continue;
    const equals = line.indexOf("=");
    if (equals < 1) {
      throw new Failure(
        "config",
        `firmware metadata ${path} line ${index + 1}: expected key=value, such as nerves_fw_version=1.0.0`,
      );
    }
    const value = line.slice(equals + 1).trim();
    variables.set(line.slice(0, equals).trim(), /^"(.*)"$/.exec(value)?.[1] ?? value);
  }
  return variables;
}

async function readMetadataFile(path: string): Promise<Variables> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const { code, message } = fileFailure("firmware metadata", path, error);
    throw new Failure(code, `${message}; correct firmware.metadata`, { cause: error });
  }
  return parseMetadataFile(text, path);
}

/** Empty without procfs: then the boot script says nothing, and the variables decide. */
async function readCommandLine(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return "";
    throw fileFailure("kernel command line", path, error);
  }
}
