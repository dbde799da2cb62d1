/**
 * The inputs of a command, and the layout of its text: within the columns of a terminal, and unbroken on a pipe. Rule:
 * a text of the hub, the daemon or fwup is made printable before it is written; {@link wrap} does that for most.
 */
import { printable } from "../platform/text.ts";
import type { World } from "../platform/world.ts";

/** Stdout or stderr, as far as a command needs it. */
export interface Output {
  readonly isTTY?: boolean;
  /** The width of a terminal. */
  readonly columns?: number;
  write(text: string): unknown;
  on(event: "error", listener: () => void): unknown;
}

/** The streams that a command reads and writes. */
export interface Terminal {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: Output;
  readonly stderr: Output;
}

/** The context that every command gets. */
export interface CommandContext {
  readonly terminal: Terminal;
  readonly env: NodeJS.ProcessEnv;
  /** `--config` */
  readonly config: string | undefined;
  readonly verbose: boolean;
  readonly world: World;
}

/** The operand and options of one call. */
export interface Arguments<Option extends string = never> {
  /** The word after the command; empty for a command that takes none. */
  readonly operand: string;
  /** @param option without its dashes */
  readonly has: (option: Option) => boolean;
  /** The word that follows an option which takes one; undefined where the option is not given. */
  readonly valueOf: (option: Option) => string | undefined;
}

/** How wide lines may be. On a pipe they are not broken, so that grep finds whole lines. */
export function columnsOf({ isTTY, columns }: Output): number {
  return isTTY === true ? columns || 80 : Infinity; // a terminal that does not know its width says 0
}

/** Rows of a label and a value, aligned. A value that is wider than `columns` continues on the next line. */
export function renderRows(
  rows: readonly (readonly [label: string, value: string])[],
  columns: number,
): string {
  const width = Math.max(...rows.map(([label]) => label.length)) + 2;
  return rows.map(([label, value]) => `${label.padEnd(width)}${wrap(value, width, columns)}\n`).join("");
}

/** Makes a text printable, and breaks it at spaces, so that no line is wider than `columns`, unless a word alone is. */
export function wrap(text: string, indent: number, columns: number): string {
  const room = Math.max(20, columns - indent);
  const lines: string[] = [];
  let line = "";
  for (const word of printable(text).split(" ")) {
    if (line !== "" && line.length + 1 + word.length > room) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines.join(`\n${" ".repeat(indent)}`);
}
