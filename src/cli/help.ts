/** The texts of --help, made from the table of commands. They fit into 80 columns, on a pipe too: people read them. */
import { EXIT_CODES } from "../platform/failures.ts";
import { type Command, COMMANDS, COMMON_OPTIONS, ENDINGS, type Ending } from "./commands.ts";
import { renderRows, wrap } from "./terminal.ts";

const COLUMNS = 80;
/** The column in which the texts of `hublink --help` begin, beside the commands. */
const INDENT = 19;

/** The text of `hublink --help`. */
export const USAGE = `hublink: firmware agent for NervesHub and fwup

Usage: hublink COMMAND [--config FILE] [--verbose]

${[...COMMANDS].map(([name, command]) => summaryOf(name, command)).join("")}
${COMMON_OPTIONS.map(([option, about]) => `  ${option.padEnd(INDENT - 2)}${about}\n`).join("")}  --version, --help
                   after a command, --help says more of it, with its exit codes
`;

/** The text of `hublink NAME --help`. */
export function helpOf(name: string, command: Command): string {
  const options = optionsOf(command).map(([option, about]) => [`  ${option}`, about] as const);
  const codes = exitCodesOf(command).map(([code, why]) => [String(code).padStart(4), why] as const);
  const parts = [
    `Usage: hublink ${wrap(synopsisOf(name, command), "Usage: hublink ".length, COLUMNS)}\n`,
    ...command.details.map((text) => `${wrap(text, 0, COLUMNS)}\n`),
    `Options:\n${renderRows(options, COLUMNS)}`,
    `Exit codes:\n${renderRows(codes, COLUMNS)}`,
  ];
  return parts.join("\n");
}

/** A call with everything that may be given, such as `apply [--force] SOURCE [--config FILE] [--verbose]`. */
export function synopsisOf(name: string, command: Command): string {
  return [callOf(name, command), ...COMMON_OPTIONS.map(([option]) => `[${option}]`)].join(" ");
}

/** All options that a command takes, and what each does. */
export function optionsOf(command: Command): (readonly [option: string, about: string])[] {
  const own = Object.entries(command.options ?? {}).map(
    ([option, about]) => [flagOf(option, command), about] as const,
  );
  return [...own, ...COMMON_OPTIONS];
}

/** The exit codes of a command and what each one means: 0 first, and 1, which is for the rest, last. */
export function exitCodesOf({ endings = {} }: Command): (readonly [code: number, why: string])[] {
  const all: Readonly<Record<string, string>> = { ...ENDINGS, ...endings };
  const order = (code: number): number => (code === EXIT_CODES.other ? Infinity : code);
  return Object.entries(all)
    .map(([ending, why]) => [exitCodeOf(ending as Ending), why] as const)
    .sort(([a], [b]) => order(a) - order(b));
}

function exitCodeOf(ending: Ending): number {
  return ending === "done" ? 0 : EXIT_CODES[ending];
}

function summaryOf(name: string, command: Command): string {
  const call = `  ${callOf(name, command)}`;
  const indent = " ".repeat(INDENT);
  const head = call.length < INDENT - 1 ? call.padEnd(INDENT) : `${call}\n${indent}`;
  return `${head}${command.about.join(`\n${indent}`)}\n`;
}

/** An option with the word that it takes, such as `--mode MODE`. */
function flagOf(option: string, { values = {} }: Command): string {
  const value = values[option];
  return value === undefined ? `--${option}` : `--${option} ${value}`;
}

function callOf(name: string, command: Command): string {
  const { operand = "", options = {} } = command;
  const flags = Object.keys(options).map((option) => `[${flagOf(option, command)}]`);
  return [name, ...flags, operand].filter((word) => word !== "").join(" ");
}
