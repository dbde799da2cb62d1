/** A terminal, or a pipe, that a test can read. */
import type { Output } from "../../src/cli/terminal.ts";

/** An output that keeps the text written to it. */
export interface Screen extends Output {
  /** The text written since the last call. */
  drawn(): string;
}

/** A terminal of this width, or a pipe if no width is given. */
export function createScreen(columns?: number): Screen {
  let text = "";
  return {
    ...(columns === undefined ? {} : { isTTY: true, columns }),
    write: (piece) => (text += piece),
    on: () => undefined,
    drawn() {
      const drawn = text;
      text = "";
      return drawn;
    },
  };
}
