/**
 * The part of telnet (RFC 854, RFC 1073) that busybox's telnetd needs on a pipe: its data, and the size of the
 * window. Options are not negotiated: telnetd offers its own and needs no answer.
 */
import type { WindowSize } from "./start-script.ts";

const IAC = 255;
const SE = 240;
const SB = 250;
const WILL = 251;
const DONT = 254;
const NAWS = 31;

type State = "data" | "command" | "option" | "subnegotiation" | "subnegotiation-command";

/** Removes telnet's commands from a stream, wherever its chunks begin and end. */
export class TelnetDecoder {
  #state: State = "data";

  /** The data in a chunk. */
  decode(chunk: Uint8Array): Buffer {
    const data = Buffer.allocUnsafe(chunk.length);
    let length = 0;
    for (const byte of chunk) {
      switch (this.#state) {
        case "data":
          if (byte === IAC) this.#state = "command";
          else data[length++] = byte;
          break;
        case "command":
          if (byte === IAC) data[length++] = byte;
          if (byte === SB) this.#state = "subnegotiation";
          else this.#state = byte >= WILL && byte <= DONT ? "option" : "data";
          break;
        case "option":
          this.#state = "data";
          break;
        case "subnegotiation":
          if (byte === IAC) this.#state = "subnegotiation-command";
          break;
        case "subnegotiation-command":
          this.#state = byte === SE ? "data" : "subnegotiation";
          break;
      }
    }
    return data.subarray(0, length);
  }
}

/**
 * Encodes text for telnetd. telnetd reads CR LF and CR NUL as a single CR and would lose a key, so a CR before
 * one of these gets a NUL of its own. UTF-8 has no byte IAC.
 */
export function encodeTelnetText(text: string): string {
  return text.replace(/\r(?=[\n\0])/g, "\r\0");
}

/** Encodes the message that sets the window size. */
export function encodeWindowSize({ rows, columns }: WindowSize): Uint8Array {
  return Uint8Array.of(IAC, SB, NAWS, ...dimension(columns), ...dimension(rows), IAC, SE);
}

/** Avoids the byte IAC: RFC 1073 doubles it in a size, and busybox reads the four bytes unchanged. */
function dimension(cells: number): [number, number] {
  const low = cells & 0xff;
  return [cells >> 8, low === IAC ? low - 1 : low];
}
