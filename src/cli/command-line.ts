/**
 * The command line. Each command stands once, in COMMANDS: --help, the options that are read, the mistakes
 * that are reported and the code that runs all come from there. A command's code is loaded when it is
 * called, because the daemon would otherwise keep the code of all others in memory.
 */
import { parseArgs } from "node:util";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Arguments, CommandContext } from "./terminal.ts";

type Run<Option extends string> = (context: CommandContext, args: Arguments<Option>) => Promise<void>;

interface Command<Option extends string = string> {
  /** The word that follows the command, in capitals. */
  readonly operand?: string;
  /** Options that it has besides those of all commands, without the dashes. */
  readonly options?: readonly Option[];
  /** The text of --help, one item for each line. */
  readonly about: readonly string[];
  readonly load: () => Promise<Run<NoInfer<Option>>>;
}

/** All commands, in the order of --help. */
const COMMANDS: ReadonlyMap<string, Command> = new Map(
  Object.entries({
    run: command({
      about: ["the daemon, in the foreground"],
      load: async () => (await import("./run.ts")).run,
    }),
    check: command({
      options: ["connect"],
      about: [
        "say what is wrong with configuration, key, fwup or slots;",
        "with --connect also whether the hub takes this board",
      ],
      load: async () => (await import("./check.ts")).check,
    }),
    status: command({
      options: ["json"],
      about: ["ask the running daemon"],
      load: async () => (await import("./status.ts")).status,
    }),
    apply: command({
      operand: "SOURCE",
      options: ["force"],
      about: [
        "install a .fw from a file, a URL or - (standard input);",
        "with --force also one for another product or board",
      ],
      load: async () => (await import("./apply.ts")).apply,
    }),
    validate: command({
      about: ["mark the running slot good"],
      load: async () => (await import("./slots.ts")).validate,
    }),
    revert: command({
      about: ["make the other slot the one to boot"],
      load: async () => (await import("./slots.ts")).revert,
    }),
    reboot: command({
      about: ["reboot the board by the configured way"],
      load: async () => (await import("./slots.ts")).reboot,
    }),
    metadata: command({
      operand: "FILE",
      about: ["print a .fw's metadata"],
      load: async () => (await import("./metadata.ts")).metadata,
    }),
    identity: command({
      options: ["generate", "csr"],
      about: [
        "print identifier, key source, certificate and fingerprints;",
        "make the device's key; print a request for its certificate",
      ],
      load: async () => (await import("./identity.ts")).identity,
    }),
    upload: command({
      operand: "FILE",
      about: ["send a file to the hub's console"],
      load: async () => (await import("./upload.ts")).upload,
    }),
  }),
);

/** The options that all commands have. */
const COMMON = {
  config: { type: "string" },
  verbose: { type: "boolean" },
  version: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

/** The column of --help in which the texts begin, beside the commands. */
const HELP_INDENT = 19;

/** The text of --help. */
export const USAGE = `hublink: firmware agent for NervesHub and fwup

Usage: hublink COMMAND [--config FILE] [--verbose]

${[...COMMANDS].map(([name, command]) => helpOf(name, command)).join("")}
  --config FILE    default /etc/hublink/config.toml
  --verbose        more log; the stack trace of an error
  --version, --help
`;

/** One call of a command. */
export interface Invocation {
  /** Undefined: the default file. */
  readonly config: string | undefined;
  /** Loads the command's code and runs it. */
  run(context: CommandContext): Promise<void>;
}

/**
 * Reads the command line: a command's call, or what to print instead of one.
 * @throws Failure `usage`
 */
export function parseCommandLine(argv: readonly string[]): Invocation | "help" | "version" {
  const { given, config, operands } = parse(argv);
  const [name, ...rest] = operands;
  if (given.has("help") || name === "help") return "help";
  if (given.has("version")) return "version";
  if (name === undefined) throw usage("name a command");
  const command = COMMANDS.get(name);
  if (command === undefined) throw usage(`there is no command ${name}`);
  const { operand, options = [], load } = command;
  if (rest.length !== (operand === undefined ? 0 : 1))
    throw usage(`${name} takes ${operand ?? "nothing"} after it`);
  const foreign = [...given].find((option) => !Object.hasOwn(COMMON, option) && !options.includes(option));
  if (foreign !== undefined) throw usage(`${name} has no --${foreign}`);
  const args = { operand: rest[0] ?? "", has: (option: string) => given.has(option) };
  return { config, run: async (context) => (await load())(context, args) };
}

function parse(argv: readonly string[]): {
  /** The options, in the order in which they were given. */
  readonly given: ReadonlySet<string>;
  readonly config: string | undefined;
  readonly operands: readonly string[];
} {
  const own = [...COMMANDS.values()].flatMap(({ options = [] }) => options);
  const flags = Object.fromEntries(own.map((option) => [option, { type: "boolean" } as const]));
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { ...flags, ...COMMON },
    });
    return { given: new Set(Object.keys(values)), config: values.config, operands: positionals };
  } catch (error) {
    throw usage((messageOf(error).split(". ")[0] ?? "").replace(/\.$/, ""));
  }
}

function helpOf(name: string, { operand = "", options = [], about }: Command): string {
  const words = [name, ...options.map((option) => `[--${option}]`), operand].filter((word) => word !== "");
  const call = `  ${words.join(" ")}`;
  const indent = " ".repeat(HELP_INDENT);
  const head = call.length < HELP_INDENT - 1 ? call.padEnd(HELP_INDENT) : `${call}\n${indent}`;
  return `${head}${about.join(`\n${indent}`)}\n`;
}

/** Lets the compiler see that a command's code asks for no option but its own. */
function command<const Option extends string = never>(command: Command<Option>): Command {
  return command;
}

function usage(problem: string): Failure {
  return new Failure("usage", `${problem} (see hublink --help)`);
}
