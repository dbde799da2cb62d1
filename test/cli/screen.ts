import type { Output } from "../../src/cli/terminal.ts";

/** An output that keeps what is written. */
export interface Screen extends Output {
  /** What was written since it was asked for last. */
  drawn(): string;
}

/** A terminal of that width, or a pipe without one. */
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
