/**
 * The work of a terminal driver, for a shell that has only a pipe to read from: echo, erasing, and the control
 * characters that end a line, a program or the input. Without it people at the hub would type blind.
 */

export interface LineDisciplineOptions {
  /** Shows what is typed. */
  readonly echo: (text: string) => void;
  /** Called with each complete line. */
  readonly send: (line: string) => void;
  /** Ctrl-C. */
  readonly interrupt: () => void;
  /** Ctrl-D at the beginning of a line. */
  readonly endOfInput: () => void;
}

/** The kernel's own limit (N_TTY); characters past it are dropped. */
const MAX_LINE_LENGTH = 4096;
/** Sequences of cursor and function keys, which this simple editor does not know. */
const ESCAPE_SEQUENCE = /\u001b(?:[[O][0-9;?]*[ -/]*[@-~]|.)?/gs;

export class LineDiscipline {
  readonly #options: LineDisciplineOptions;
  #line: string[] = [];

  constructor(options: LineDisciplineOptions) {
    this.#options = options;
  }

  type(keys: string): void {
    for (const key of keys.replace(ESCAPE_SEQUENCE, "").replace(/\r\n/g, "\r")) this.#handleKey(key);
  }

  #handleKey(key: string): void {
    const { echo, send, interrupt, endOfInput } = this.#options;
    switch (key) {
      case "\r":
      case "\n":
        echo("\r\n");
        send(`${this.#line.join("")}\n`);
        this.#line = [];
        break;
      case "\u0003": // Ctrl-C
        this.#line = [];
        echo("^C\r\n");
        interrupt();
        break;
      case "\u0004": // Ctrl-D
        if (this.#line.length === 0) endOfInput();
        break;
      case "\u0008":
      case "\u007f":
        this.#erase(1);
        break;
      case "\u0015": // Ctrl-U
        this.#erase(this.#line.length);
        break;
      default:
        if ((key < " " && key !== "\t") || this.#line.length === MAX_LINE_LENGTH) return;
        this.#line.push(key);
        echo(key);
    }
  }

  #erase(count: number): void {
    const erased = this.#line.splice(this.#line.length - Math.min(count, this.#line.length));
    this.#options.echo("\b \b".repeat(erased.length));
  }
}

/** Puts a CR before each LF of an output, as a terminal driver does. */
export function withCarriageReturns(output: Buffer): Buffer {
  return Buffer.from(output.toString("latin1").replace(/\r?\n/g, "\r\n"), "latin1");
}
