/**
 * Reads the command line. A mistake is answered with the word at fault and the one that was probably meant; --help
 * after a command is answered with that command's own help.
 */
import { parseArgs } from "node:util";
import { Failure, messageOf } from "../platform/failure.ts";
import { nearestOf } from "../platform/text.ts";
import { COMMANDS } from "./commands.ts";
import { helpOf, USAGE } from "./help.ts";
import type { CommandContext } from "./terminal.ts";

/** The options that all commands have. */
const COMMON = {
  config: { type: "string" },
  verbose: { type: "boolean" },
  version: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

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
export function parseCommandLine(
  argv: readonly string[],
): Invocation | { readonly help: string } | "version" {
  const { given, config, operands } = parse(argv);
  const [name, ...rest] = operands;
  if (name === "help") return { help: helpFor(rest[0]) };
  if (given.has("help")) return { help: helpFor(name) };
  if (given.has("version")) return "version";
  if (name === undefined) throw usage("name a command");
  const command = COMMANDS.get(name);
  if (command === undefined) {
    const meant = nearestOf(name, COMMANDS.keys());
    throw usage(`there is no command ${name}${meant === undefined ? "" : `; did you mean ${meant}?`}`);
  }
  const { operand, options = {}, load } = command;
  if (rest.length !== (operand === undefined ? 0 : 1))
    throw usage(`${name} takes ${operand ?? "nothing"} after it`);
  const known = { ...COMMON, ...options };
  const foreign = [...given.keys()].find((option) => !Object.hasOwn(known, option));
  if (foreign !== undefined) throw usage(`${name} has no --${foreign}`);
  const args = {
    operand: rest[0] ?? "",
    has: (option: string) => given.has(option),
    valueOf: (option: string) => given.get(option),
  };
  return { config, run: async (context) => (await load())(context, args) };
}

/** A command's own help; of a name that is no command, the help with all commands. */
function helpFor(name: string | undefined): string {
  const command = COMMANDS.get(name ?? "");
  return name === undefined || command === undefined ? USAGE : helpOf(name, command);
}

function parse(argv: readonly string[]): {
  /** The options in the order in which they were given, with the words that some of them take. */
  readonly given: ReadonlyMap<string, string | undefined>;
  readonly config: string | undefined;
  readonly operands: readonly string[];
} {
  const own = [...COMMANDS.values()].flatMap(({ options = {}, values = {} }) =>
    Object.keys(options).map((option) => [option, values[option]] as const),
  );
  const flags = Object.fromEntries(
    own.map(([option, value]) => [option, { type: value === undefined ? "boolean" : "string" } as const]),
  );
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { ...flags, ...COMMON },
    });
    const given = new Map(
      Object.entries(values).map(([option, value]) => [
        option,
        typeof value === "string" ? value : undefined,
      ]),
    );
    return { given, config: values.config, operands: positionals };
  } catch (error) {
    throw usage(`${(messageOf(error).split(". ")[0] ?? "").replace(/\.$/, "")}${meantOption(argv, error)}`);
  }
}

/** The option that was probably meant by one that is not known, among those of the command that was called. */
function meantOption(argv: readonly string[], error: unknown): string {
  const unknown = /^Unknown option '--([^']*)'/.exec(messageOf(error))?.[1];
  if (unknown === undefined) return "";
  const called = argv.find((word) => COMMANDS.has(word)) ?? "";
  const own = Object.keys(COMMANDS.get(called)?.options ?? {});
  const meant = nearestOf(unknown, [...own, ...Object.keys(COMMON)]);
  return meant === undefined ? "" : `; did you mean --${meant}?`;
}

function usage(problem: string): Failure {
  return new Failure("usage", `${problem} (see hublink --help)`);
}
