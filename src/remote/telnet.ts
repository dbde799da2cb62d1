/**
 * As much of telnet (RFC 854, RFC 1073) as it takes to use busybox's telnetd on a pipe: its data, and the
 * size of the window. Options are not negotiated: telnetd offers its own and needs no answer.
 */
import type { WindowSize } from "./start-script.ts";

const IAC = 255;
const SE = 240;
const SB = 250;
const WILL = 251;
const DONT = 254;
const NAWS = 31;

type State = "data" | "command" | "option" | "subnegotiation" | "subnegotiation-command";

/** Takes telnet's commands out of a stream, wherever its chunks begin and end. */
export function createTelnetDecoder(): (chunk: Uint8Array) => Buffer {
  let state: State = "data";
  return (chunk) => {
    const data = Buffer.allocUnsafe(chunk.length);
    let length = 0;
    for (const byte of chunk) {
      switch (state) {
        case "data":
          if (byte === IAC) state = "command";
          else data[length++] = byte;
          break;
        case "command":
          if (byte === IAC) data[length++] = byte;
          if (byte === SB) state = "subnegotiation";
          else state = byte >= WILL && byte <= DONT ? "option" : "data";
          break;
        case "option":
          state = "data";
          break;
        case "subnegotiation":
          if (byte === IAC) state = "subnegotiation-command";
          break;
        case "subnegotiation-command":
          state = byte === SE ? "data" : "subnegotiation";
          break;
      }
    }
    return data.subarray(0, length);
  };
}

/**
 * Text as telnetd reads it: it takes CR LF and CR NUL for a single CR, so a CR before one of these gets a
 * NUL of its own. UTF-8 holds no IAC.
 */
export function encodeTelnetText(text: string): string {
  return text.replace(/\r(?=[\n\0])/g, "\r\0");
}

/** The message that tells a new window size. */
export function encodeWindowSize({ rows, columns }: WindowSize): Uint8Array {
  return Uint8Array.of(IAC, SB, NAWS, ...dimension(columns), ...dimension(rows), IAC, SE);
}

/** busybox reads four bytes as they are, where RFC 1073 doubles each IAC: a size never has one. */
function dimension(cells: number): [number, number] {
  const low = cells & 0xff;
  return [cells >> 8, low === IAC ? low - 1 : low];
}
