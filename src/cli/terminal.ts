/** What a command needs of an output of its process. */
export interface Output {
  readonly isTTY?: boolean;
  /** Of a terminal: its width. */
  readonly columns?: number;
  write(text: string): unknown;
  on(event: "error", listener: () => void): unknown;
}

/** Where a command reads and writes. */
export interface Terminal {
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: Output;
  readonly stderr: Output;
}

/** What every command works with. */
export interface CommandContext {
  readonly terminal: Terminal;
  readonly env: NodeJS.ProcessEnv;
  /** `--config` */
  readonly config: string | undefined;
  readonly verbose: boolean;
}

/** What was given to one command. */
export interface Arguments<Option extends string = never> {
  /** The word after the command; empty for a command that takes none. */
  readonly operand: string;
  /** @param option without its dashes */
  readonly has: (option: Option) => boolean;
}

/** How wide lines may be: a pipe has no edge, and whoever greps it wants whole lines. */
export function columnsOf({ isTTY, columns }: Output): number {
  return isTTY === true ? columns || 80 : Infinity; // a terminal that does not know says 0
}

/** Rows of a label and a value, aligned; a value that is too wide for `columns` goes on below. */
export function renderRows(
  rows: readonly (readonly [label: string, value: string])[],
  columns: number,
): string {
  const width = Math.max(...rows.map(([label]) => label.length)) + 2;
  return rows.map(([label, value]) => `${label.padEnd(width)}${wrap(value, width, columns)}\n`).join("");
}

/** Breaks at spaces, so that no line is wider than `columns` where that is possible. */
export function wrap(text: string, indent: number, columns: number): string {
  const room = Math.max(20, columns - indent);
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
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
