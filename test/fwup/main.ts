/**
 * The stand-in for fwup, for machines without it: same command line, frames, messages and effects on the
 * disk, for the functions that boards of hublink use. test/bin/fwup runs this file.
 */
import { apply } from "./apply.ts";
import { openDevice } from "./device.ts";
import { metadataText, metadataValue, openFirmware, VERSION, type FirmwareSource } from "./firmware.ts";
import { FwupError } from "./fwup-error.ts";
import { fileInput, framedInput, plainInput, StandardInput, type Input } from "./input.ts";
import { generateKeyFiles } from "./keys.ts";
import { sectionsOf } from "./meta-conf.ts";
import { parseOptions, USAGE, UsageError, type Options } from "./options.ts";
import { Output, writeAll, type ProgressStyle } from "./output.ts";
import { Progress } from "./progress.ts";
import { verifyFirmware } from "./verify.ts";

const output = new Output();

try {
  const args = process.argv.slice(2);
  if (args.length === 0) throw new UsageError();
  void run(parseOptions(args, output)).then(() => process.exit(0), fail);
} catch (error) {
  fail(error);
}

function fail(error: unknown): never {
  if (error instanceof UsageError) {
    if (error.message !== "") writeAll(2, `fwup: ${error.message}\n`);
    writeAll(1, USAGE);
  } else if (error instanceof FwupError) output.error(error.message);
  else throw error;
  process.exit(1);
}

async function run(options: Options): Promise<void> {
  switch (options.action) {
    case "help":
      writeAll(1, USAGE);
      break;
    case "version":
      writeAll(1, `${VERSION}\n`);
      break;
    default:
      if (options.quiet && options.numeric) throw new FwupError("pick either -n or -q, but not both");
      if (options.parameter !== undefined) throw new FwupError(`unexpected parameter: ${options.parameter}`);
      output.success(options.action === "apply" ? await runApply(options) : await answer(options));
  }
}

/** Runs all actions except apply, help and version. @returns the text of the success */
async function answer(options: Options): Promise<string> {
  switch (options.action) {
    case "generate-keys":
      return generateKeyFiles(options.outputPath ?? "fwup-key");
    case "list": {
      const { config } = await openToLook(options);
      const names = sectionsOf(config, "task").map(({ title }) => title);
      return names
        .sort()
        .map((name) => `${name}\n`)
        .join("");
    }
    case "metadata": {
      const firmware = await openToLook(options);
      const { metadataKey } = options;
      if (metadataKey === undefined) return metadataText(firmware);
      return `${metadataValue(firmware, metadataKey) ?? "(null)"}\n`;
    }
    case "verify":
      if (options.input === undefined || options.input === "-")
        throw new FwupError("Specify an input firmware file");
      return verifyFirmware(openSource(options));
    default:
      throw new FwupError("specify one of -a, -c, -l, -m, -S, -V, or -z");
  }
}

/** @returns what to say, which is nothing */
async function runApply(options: Options): Promise<string> {
  if (options.task === undefined) throw new FwupError("specify a task (-t)");
  if (options.device === undefined) throw new FwupError("No memory cards found. Try reinserting the card.");
  output.progressStyle = progressStyle(options);
  const progress = new Progress(output);
  try {
    const device = openDevice(options.device, options.unmount, output);
    await apply({
      source: openSource(options),
      task: options.task,
      device,
      verifyWrites: options.verifyWrites ?? !device.isRegularFile,
      unsafe: options.unsafe,
      output,
      progress,
    });
  } catch (error) {
    if (error instanceof FwupError && !options.quiet) writeAll(2, "\n");
    throw error;
  }
  if (output.progressStyle === "bar") writeAll(1, "\nSuccess!\n");
  return "";
}

function progressStyle({ quiet, numeric }: Options): ProgressStyle {
  if (quiet) return "off";
  if (output.framing) return "framing";
  return numeric ? "numeric" : "bar";
}

async function openToLook(options: Options): ReturnType<typeof openFirmware> {
  const source = openSource(options);
  return openFirmware(source, `Corrupt archive '${source.name}'`);
}

function openSource({ input, publicKeys }: Options): FirmwareSource {
  const path = input === "-" ? undefined : input;
  return {
    input: path === undefined ? standardInput() : fileInput(path),
    name: path ?? "(null)", // as fwup's printf has it
    publicKeys,
    environment: process.env,
  };
}

function standardInput(): Input {
  const bytes = new StandardInput(process.stdin);
  return output.framing ? framedInput(bytes) : plainInput(bytes);
}
