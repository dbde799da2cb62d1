/**
 * The ways to give a shell a terminal: busybox's telnetd, script(1), or only pipes. Node can't open a pty without
 * a native addon, so a tool of the board does it. Which of them works is found by trying, since a tool may be
 * there without the option that is needed, and a board without /dev/pts has no terminals at all.
 */
import { readlinkSync } from "node:fs";
import { within } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import { LineDiscipline, withCarriageReturns } from "./line-discipline.ts";
import { quoted, type WindowSize } from "./start-script.ts";
import { Terminal, type TerminalBackend, type TerminalChild, type TerminalConnection } from "./terminal.ts";

/** busybox telnetd, run as inetd would run it: it makes a pty and speaks telnet on standard input and output. */
const telnetd: TerminalBackend = {
  name: "busybox telnetd",
  isTerminal: true,
  // -K: ends with the shell, even if jobs are left; -f: no /etc/issue.
  command: (file) => ["busybox", "telnetd", "-i", "-K", "-f", "/dev/null", "-l", file],
  shellArgs: [],
  connect(child) {
    const decoder = new TelnetDecoder();
    return {
      type: (keys) => child.write(encodeTelnetText(keys)),
      handleOutput: (output) => child.show(decoder.decode(output)),
      resize: (size) => child.write(encodeWindowSize(size)),
    };
  },
};

/** script, of util-linux or busybox; stty sets the size from outside. */
const script: TerminalBackend = {
  name: "script",
  isTerminal: true,
  command: (file) => ["script", "-q", "-f", "-c", `exec /bin/sh ${quoted(file)}`, "/dev/null"],
  shellArgs: [],
  connect: (child) => new ScriptConnection(child),
};

const STTY_TIMEOUT_MS = 5000;

class ScriptConnection implements TerminalConnection {
  readonly #child: TerminalChild;
  #nextSize: WindowSize | undefined;
  #resizing = false;

  constructor(child: TerminalChild) {
    this.#child = child;
  }

  type(keys: string): void {
    this.#child.write(keys);
  }

  handleOutput(output: Buffer): void {
    this.#child.show(output);
  }

  /** Runs one stty at a time, for the latest size: a window that is dragged sends many. */
  resize(size: WindowSize): void {
    this.#nextSize = size;
    if (this.#resizing) return;
    this.#resizing = true;
    this.#setSizes()
      .catch((error: unknown) => this.#child.log.warn(`the window's size is not set: ${messageOf(error)}`))
      .finally(() => (this.#resizing = false));
  }

  async #setSizes(): Promise<void> {
    const { world } = this.#child;
    while (this.#nextSize !== undefined && this.#child.sessionId !== undefined) {
      const { rows, columns } = this.#nextSize;
      this.#nextSize = undefined;
      const device = readlinkSync(`/proc/${this.#child.sessionId}/fd/0`);
      const command = ["stty", "-F", device, "rows", String(rows), "cols", String(columns)];
      const result = await world.run(command, { clock: world.clock, timeoutMs: STTY_TIMEOUT_MS });
      if (result.exitCode !== 0) throw new Error(result.stderr.trim());
    }
  }
}

/** No terminal: an interactive shell on pipes, with a line editor of our own. */
const pipes: TerminalBackend = {
  name: "pipes",
  isTerminal: false,
  command: (file) => ["/bin/sh", file],
  shellArgs: ["-i"],
  connect(child) {
    const lines = new LineDiscipline({
      echo: (text) => child.show(Buffer.from(text)),
      send: (line) => child.write(line),
      interrupt: () => child.signal("SIGINT"),
      endOfInput: () => child.endInput(),
    });
    return {
      type: (keys) => lines.type(keys),
      handleOutput: (output) => child.show(withCarriageReturns(output)),
      resize: () => undefined,
    };
  },
};

/** The best first. The last works on every board that has a shell. */
export const TERMINAL_BACKENDS = [telnetd, script, pipes] as const;

export interface FindBackendOptions {
  readonly world: World;
  readonly log: Log;
}

/** A busy Pi Zero takes seconds to start two shells. */
const PROBE_TIMEOUT_MS = 10_000;

/** Finds the backend when it is first needed, and only once. */
export function terminalBackendFinder(options: FindBackendOptions): () => Promise<TerminalBackend> {
  let found: Promise<TerminalBackend> | undefined;
  return async () => (found ??= findTerminalBackend(options));
}

/** The best backend that works on this board. */
export async function findTerminalBackend(options: FindBackendOptions): Promise<TerminalBackend> {
  const [best, ...others] = TERMINAL_BACKENDS;
  let backend: TerminalBackend = best;
  for (const next of others) {
    const problem = await probe(backend, options);
    if (problem === undefined) break;
    options.log.debug(`no terminal by ${backend.name}: ${problem}`);
    backend = next;
  }
  options.log.info(`terminals are made by ${backend.name}`);
  return backend;
}

/** Runs a program that looks whether it is on a terminal. Returns the problem, undefined if there is none. */
async function probe(
  backend: TerminalBackend,
  { world, log }: FindBackendOptions,
): Promise<string | undefined> {
  let exited: (exitCode: number | null) => void = () => undefined;
  const exit = new Promise<number | null>((resolve) => (exited = resolve));
  try {
    const terminal = await Terminal.open({
      backend,
      shell: "/bin/sh",
      account: undefined,
      size: { rows: 24, columns: 80 },
      onOutput: () => undefined,
      onExit: exited,
      world,
      log,
    });
    terminal.type("test -t 0 && exit 42; exit 1\r");
    const exitCode = await within(world.clock, PROBE_TIMEOUT_MS, exit, "no answer" as const);
    await terminal.end();
    if (exitCode === 42) return undefined;
    return exitCode === "no answer" ? exitCode : `it ended with ${exitCode ?? "a signal"}`;
  } catch (error) {
    return messageOf(error);
  }
}

/** Telnet's bytes (RFC 854, RFC 1073), those that busybox's telnetd uses on a pipe. */
const IAC = 255;
const SE = 240;
const SB = 250;
const WILL = 251;
const DONT = 254;
const NAWS = 31;

type State = "data" | "command" | "option" | "subnegotiation" | "subnegotiation-command";

/**
 * Removes telnet's commands from a stream, wherever its chunks begin and end. Options are not negotiated: telnetd
 * offers its own and needs no answer.
 */
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
