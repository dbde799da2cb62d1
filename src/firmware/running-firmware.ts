import { readFile } from "node:fs/promises";
import { Failure, fileFailure, systemCode } from "../platform/failure.ts";
import { readSlots, type RunningFirmware, type SlotEvidence } from "./slots.ts";
import { readEnvironment, type Variables } from "./uboot-environment.ts";

/** The part of the `[firmware]` section that says where the running firmware is described. */
export interface MetadataSource {
  /** "uboot-env" or "file:PATH" */
  readonly metadata: string;
  readonly ubootEnvConfig: string;
}

export interface BootEvidence {
  /** `/proc/cmdline` */
  readonly kernelCommandLinePath: string;
  /** See {@link SlotEvidence.installedFrom}. */
  readonly installedFrom?: SlotEvidence["installedFrom"];
}

/**
 * Reads what describes the running firmware. A metadata file belongs to the firmware it describes and
 * is not rewritten, so that no fall-back shows in it and no correction applies.
 * @throws Failure naming the configuration, file, line or device at fault
 */
export async function loadFirmware(source: MetadataSource, boot: BootEvidence): Promise<RunningFirmware> {
  const kernelCommandLine = await readCommandLine(boot.kernelCommandLinePath);
  const { installedFrom } = boot;
  if (source.metadata === "uboot-env") {
    const variables = await readEnvironment(source.ubootEnvConfig);
    return readSlots({ variables, kernelCommandLine, installedFrom });
  }
  const variables = await readMetadataFile(source.metadata.replace(/^file:/, ""));
  const firmware = readSlots({ variables, kernelCommandLine, installedFrom });
  return { ...firmware, autoRevertDetected: false, correction: new Map() };
}

/**
 * Parses lines `key=value`; a value may stand in double quotes, as fwup's and shell's do. Lines that
 * are blank or start with # are passed over.
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

/** Without procfs there is no boot script's word, and the variables decide. */
async function readCommandLine(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return "";
    throw fileFailure("kernel command line", path, error);
  }
}
