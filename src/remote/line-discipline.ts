/** What a terminal driver does for a shell that has only a pipe to read from. */
export interface LineDiscipline {
  /** Takes what is typed. */
  typed(keys: string): void;
}

export interface LineDisciplineOptions {
  /** Shows what is typed. */
  readonly echo: (text: string) => void;
  /** A line is complete. */
  readonly send: (line: string) => void;
  /** Ctrl-C. */
  readonly interrupt: () => void;
  /** Ctrl-D at the beginning of a line. */
  readonly endOfInput: () => void;
}

/** As the kernel's own: what is typed past it is not taken. */
const MAX_LINE_LENGTH = 4096;
/** The sequences of cursor and function keys, which a line without an editor has no use for. */
const ESCAPE_SEQUENCE = /\u001b(?:[[O][0-9;?]*[ -/]*[@-~]|.)?/gs;

/** Echo, erasing, and the control characters that end a line, a program or the input. */
export function createLineDiscipline(options: LineDisciplineOptions): LineDiscipline {
  let line: string[] = [];

  const erase = (count: number): void => {
    const erased = line.splice(line.length - Math.min(count, line.length));
    options.echo("\b \b".repeat(erased.length));
  };
  const take = (character: string): void => {
    switch (character) {
      case "\r":
      case "\n":
        options.echo("\r\n");
        options.send(`${line.join("")}\n`);
        line = [];
        break;
      case "\u0003":
        line = [];
        options.echo("^C\r\n");
        options.interrupt();
        break;
      case "\u0004":
        if (line.length === 0) options.endOfInput();
        break;
      case "\u0008":
      case "\u007f":
        erase(1);
        break;
      case "\u0015": // Ctrl-U
        erase(line.length);
        break;
      default:
        if ((character < " " && character !== "\t") || line.length === MAX_LINE_LENGTH) return;
        line.push(character);
        options.echo(character);
    }
  };

  return {
    typed(keys) {
      for (const character of keys.replace(ESCAPE_SEQUENCE, "").replace(/\r\n/g, "\r")) take(character);
    },
  };
}

/** Output with the CR before each LF that a terminal driver adds. */
export function withCarriageReturns(output: Buffer): Buffer {
  return Buffer.from(output.toString("latin1").replace(/\r?\n/g, "\r\n"), "latin1");
}
