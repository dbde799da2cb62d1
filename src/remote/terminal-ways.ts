import { readlinkSync } from "node:fs";
import type { Clock } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { createLineDiscipline, withCarriageReturns } from "./line-discipline.ts";
import { createTelnetDecoder, encodeTelnetText, encodeWindowSize } from "./telnet.ts";
import { quoted } from "./start-script.ts";
import type { WindowSize } from "./terminal.ts";

/** The child that holds the terminal, as a way of talking to it sees it. */
export interface TerminalChild {
  /** To its standard input. */
  write(data: Uint8Array | string): void;
  endInput(): void;
  /** To whoever looks at the terminal. */
  show(output: Buffer): void;
  /** Of the shell; undefined until it has started. */
  readonly sessionId: number | undefined;
  signal(signal: NodeJS.Signals): void;
  readonly clock: Clock;
  readonly log: Log;
}

/** One conversation with such a child. */
export interface TerminalSpeech {
  typed(keys: string): void;
  /** The child's standard output and error. */
  said(output: Buffer): void;
  resize(size: WindowSize): void;
}

/** One way to give a shell a terminal without a native addon. */
export interface TerminalWay {
  readonly name: string;
  /** It has a size, Ctrl-C and job control. */
  readonly isTerminal: boolean;
  /** Runs an executable file on a terminal. */
  command(file: string): readonly [string, ...string[]];
  readonly shellArgs: readonly string[];
  talkTo(child: TerminalChild): TerminalSpeech;
}

/** busybox telnetd as inetd would run it: a pty, and telnet on its own standard input and output. */
const telnetd: TerminalWay = {
  name: "busybox telnetd",
  isTerminal: true,
  // -K: ends with the shell, whatever it has left running; -f: no /etc/issue.
  command: (file) => ["busybox", "telnetd", "-i", "-K", "-f", "/dev/null", "-l", file],
  shellArgs: [],
  talkTo(child) {
    const decode = createTelnetDecoder();
    return {
      typed: (keys) => child.write(encodeTelnetText(keys)),
      said: (output) => child.show(decode(output)),
      resize: (size) => child.write(encodeWindowSize(size)),
    };
  },
};

const STTY_TIMEOUT_MS = 5000;

/** script, of util-linux or busybox, with stty from outside for the size. */
const script: TerminalWay = {
  name: "script",
  isTerminal: true,
  command: (file) => ["script", "-q", "-f", "-c", `exec /bin/sh ${quoted(file)}`, "/dev/null"],
  shellArgs: [],
  talkTo(child) {
    let wanted: WindowSize | undefined;
    let setting = false;
    /** One stty at a time, for the latest size: a window that is dragged sends many. */
    const setSizes = async (): Promise<void> => {
      while (wanted !== undefined && child.sessionId !== undefined) {
        const { rows, columns } = wanted;
        wanted = undefined;
        const device = readlinkSync(`/proc/${child.sessionId}/fd/0`);
        const command = ["stty", "-F", device, "rows", String(rows), "cols", String(columns)];
        const result = await runCommand(command, { clock: child.clock, timeoutMs: STTY_TIMEOUT_MS });
        if (result.exitCode !== 0) throw new Error(result.stderr.trim());
      }
    };
    return {
      typed: (keys) => child.write(keys),
      said: (output) => child.show(output),
      resize(size) {
        wanted = size;
        if (setting) return;
        setting = true;
        setSizes()
          .catch((error: unknown) => child.log.warn(`the window's size is not set: ${messageOf(error)}`))
          .finally(() => (setting = false));
      },
    };
  },
};

/** No terminal at all: an interactive shell on pipes, with a line editor of our own. */
const pipes: TerminalWay = {
  name: "pipes",
  isTerminal: false,
  command: (file) => ["/bin/sh", file],
  shellArgs: ["-i"],
  talkTo(child) {
    const lines = createLineDiscipline({
      echo: (text) => child.show(Buffer.from(text)),
      send: (line) => child.write(line),
      interrupt: () => child.signal("SIGINT"),
      endOfInput: () => child.endInput(),
    });
    return {
      typed: (keys) => lines.typed(keys),
      said: (output) => child.show(withCarriageReturns(output)),
      resize: () => undefined,
    };
  },
};

/** Best first. The last works wherever there is a shell. */
export const TERMINAL_WAYS = [telnetd, script, pipes] as const;
