/** fwup's command line. */
import type { KeyObject } from "node:crypto";
import { parsePublicKey, readPublicKeyFile } from "./keys.ts";
import type { Output } from "./output.ts";

type Action = "apply" | "generate-keys" | "list" | "metadata" | "verify" | "help" | "version";

/** The parsed command line. */
export interface Options {
  action?: Action;
  device?: string;
  /** Undefined for standard input. */
  input?: string;
  outputPath?: string;
  task?: string;
  metadataKey?: string;
  readonly publicKeys: KeyObject[];
  unmount: boolean;
  quiet: boolean;
  numeric: boolean;
  unsafe: boolean;
  /** By default: devices yes, files no. */
  verifyWrites?: boolean;
  /** The first argument that is not an option. */
  parameter?: string;
}

/** A command line that can't be understood; its message goes to stderr, unframed, before the usage. */
export class UsageError extends Error {}

/** fwup ignores keys past this many. */
const MAX_PUBLIC_KEYS = 10;

interface Option {
  readonly takesValue?: boolean;
  apply(options: Options, value: string, output: Output): void;
}

const acts = (action: Action): Option => ({ apply: (options) => (options.action = action) });

const APPLY = acts("apply");
const LIST = acts("list");
const METADATA = acts("metadata");
const VERIFY = acts("verify");
const GENERATE_KEYS = acts("generate-keys");
const HELP = acts("help");
const FRAMING: Option = { apply: (_options, _value, output) => (output.framing = true) };
const TASK: Option = { takesValue: true, apply: (options, value) => (options.task = value) };
const QUIET: Option = { apply: (options) => (options.quiet = true) };
const UNMOUNT: Option = { apply: (options) => (options.unmount = true) };
const NO_UNMOUNT: Option = { apply: (options) => (options.unmount = false) };
const PUBLIC_KEY_FILE: Option = {
  takesValue: true,
  apply: (options, path, output) => addKey(options, output, () => readPublicKeyFile(path)),
};

const SHORT: Readonly<Record<string, Option>> = {
  a: APPLY,
  d: { takesValue: true, apply: (options, value) => (options.device = value) },
  F: FRAMING,
  g: GENERATE_KEYS,
  h: HELP,
  i: { takesValue: true, apply: (options, value) => (options.input = value) },
  l: LIST,
  m: METADATA,
  n: { apply: (options) => (options.numeric = true) },
  o: { takesValue: true, apply: (options, value) => (options.outputPath = value) },
  p: PUBLIC_KEY_FILE,
  q: QUIET,
  t: TASK,
  u: UNMOUNT,
  U: NO_UNMOUNT,
  V: VERIFY,
};

const LONG: Readonly<Record<string, Option>> = {
  apply: APPLY,
  framing: FRAMING,
  "gen-keys": GENERATE_KEYS,
  help: HELP,
  list: LIST,
  metadata: METADATA,
  "metadata-key": { takesValue: true, apply: (options, value) => (options.metadataKey = value) },
  "no-unmount": NO_UNMOUNT,
  "no-verify-writes": { apply: (options) => (options.verifyWrites = false) },
  "public-key": {
    takesValue: true,
    apply: (options, text, output) => addKey(options, output, () => parsePublicKey(text)),
  },
  "public-key-file": PUBLIC_KEY_FILE,
  quiet: QUIET,
  task: TASK,
  unmount: UNMOUNT,
  unsafe: { apply: (options) => (options.unsafe = true) },
  verify: VERIFY,
  "verify-writes": { apply: (options) => (options.verifyWrites = true) },
  version: acts("version"),
};

function addKey(options: Options, output: Output, read: () => KeyObject): void {
  if (options.publicKeys.length < MAX_PUBLIC_KEYS) options.publicKeys.push(read());
  else output.info(`Ignoring public key since only ${MAX_PUBLIC_KEYS} supported`);
}

/**
 * Reads a command line as getopt_long does: `-Fad DEV`, `--task=upgrade`, unambiguous beginnings of long
 * options, and parameters anywhere. Options act in their order: `-F` frames what goes wrong after it.
 * @throws UsageError
 * @throws FwupError when a key is bad
 */
export function parseOptions(args: readonly string[], output: Output): Options {
  const options: Options = { publicKeys: [], unmount: true, quiet: false, numeric: false, unsafe: false };
  const rest = [...args];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === "--") break;
    if (arg.startsWith("--")) parseLong(arg.slice(2), rest, options, output);
    else if (arg.startsWith("-") && arg !== "-") parseShort(arg.slice(1), rest, options, output);
    else options.parameter ??= arg;
    if (options.action === "help" || options.action === "version") return options; // fwup does these at once
  }
  const [parameter] = rest;
  if (parameter !== undefined) options.parameter ??= parameter;
  return options;
}

function parseLong(arg: string, rest: string[], options: Options, output: Output): void {
  const [given = "", inlineValue] = arg.split(/=([^]*)/);
  const names = given in LONG ? [given] : Object.keys(LONG).filter((name) => name.startsWith(given));
  const [name = ""] = names;
  const option = LONG[name];
  if (option === undefined) throw new UsageError(`unrecognized option '--${given}'`);
  if (names.length > 1)
    throw new UsageError(
      `option '--${given}' is ambiguous; possibilities: ${names.map((each) => `'--${each}'`).join(" ")}`,
    );
  if (option.takesValue !== true) {
    if (inlineValue !== undefined) throw new UsageError(`option '--${name}' doesn't allow an argument`);
    option.apply(options, "", output);
    return;
  }
  const value = inlineValue ?? rest.shift();
  if (value === undefined) throw new UsageError(`option '--${name}' requires an argument`);
  option.apply(options, value, output);
}

function parseShort(letters: string, rest: string[], options: Options, output: Output): void {
  for (let i = 0; i < letters.length; i++) {
    const letter = letters.charAt(i);
    const option = SHORT[letter];
    if (option === undefined) throw new UsageError(`invalid option -- '${letter}'`);
    if (option.takesValue !== true) {
      option.apply(options, "", output);
      continue;
    }
    const value = letters.slice(i + 1) || rest.shift();
    if (value === undefined) throw new UsageError(`option requires an argument -- '${letter}'`);
    option.apply(options, value, output);
    return;
  }
}

export const USAGE = `A stand-in for fwup, for tests on machines without it: applies firmware, reads and verifies archives.

Usage: fwup [OPTION]...

  -a, --apply                    Apply a firmware; needs -d and -t
  -d <path>                      The block device or image to write to
  -t, --task <task>              The beginning of the task's name
  -i <input.fw>                  The archive (- or none: standard input)
  -F, --framing                  Frames on standard input and output
  --public-key <key>             A key that may have signed it (base64); more than one may be given
  -p, --public-key-file <path>   The same from a file
  -u, --unmount                  Unmount the device first (default)
  -U, --no-unmount               Don't
  -n                             Numeric progress
  -q, --quiet                    No progress
  --verify-writes                Read back what was written (default for devices)
  --no-verify-writes             Don't (default for files)
  --unsafe                       Accepted; nothing here is unsafe
  -m, --metadata                 Print the metadata
  --metadata-key <key>           Print only this one's value
  -l, --list                     Print the tasks
  -V, --verify                   Verify an archive; needs -i
  -g, --gen-keys                 Make a key pair (-o <prefix>)
  --version                      Print the version of fwup that this one copies
`;
