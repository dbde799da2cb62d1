/** fwup's output: frames, numbers, a bar or lines. */
import { writeSync } from "node:fs";
import { systemCode } from "../../src/platform/failure.ts";

/** The two letters of a frame: progress, warning or info, success, error. */
export type FrameType = "PR" | "WN" | "OK" | "ER";

/** How progress is reported: in frames (`-F`), numbers (`-n`), a bar, or not at all (`-q`). */
export type ProgressStyle = "framing" | "numeric" | "bar" | "off";

/** The shell's exit status for a program that SIGPIPE ended; Node can't die of that signal itself. */
const EXIT_SIGPIPE = 141;

/** fwup's standard output: frames with `-F`, lines without. */
export class Output {
  framing = false;
  progressStyle: ProgressStyle = "off";

  /** Writes an `OK` frame, or its bare text. */
  success(text: string): void {
    this.#message("OK", text, text);
  }

  info(text: string): void {
    this.#message("WN", text, `fwup: ${text}\n`);
  }

  error(text: string): void {
    this.#message("ER", text, `fwup: ${text}\n`);
  }

  progress(percent: number): void {
    if (this.progressStyle === "framing") writeAll(1, frame("PR", percent, ""));
    if (this.progressStyle === "numeric") writeAll(1, `${percent}\n`);
    if (this.progressStyle === "bar") {
      const bar = "=".repeat(Math.floor((percent * BAR_WIDTH) / 100)).padEnd(BAR_WIDTH);
      writeAll(1, `\r${String(percent).padStart(3)}% [${bar}]`);
    }
  }

  #message(type: FrameType, framed: string, plain: string): void {
    if (!this.framing && this.progressStyle === "bar" && plain !== "") writeAll(1, "\r\x1b[K");
    writeAll(1, this.framing ? frame(type, 0, framed) : plain);
  }
}

const BAR_WIDTH = 36;

function frame(type: FrameType, code: number, text: string): Buffer {
  const payload = Buffer.from(`\0\0\0\0${type}\0\0${text}`);
  payload.writeUInt32BE(payload.length - 4, 0);
  payload.writeUInt16BE(code, 6);
  return payload;
}

/** Writes everything before it returns, so that nothing is lost when the program exits. */
export function writeAll(fd: 1 | 2, content: string | Buffer): void {
  let rest = typeof content === "string" ? Buffer.from(content) : content;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      if (systemCode(error) === "EPIPE") process.exit(EXIT_SIGPIPE);
      if (systemCode(error) !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1); // a full pipe: let the reader catch up
    }
  }
}
