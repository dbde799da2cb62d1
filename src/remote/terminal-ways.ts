import { readlinkSync } from "node:fs";
import { type Clock, within } from "../platform/clock.ts";
import { runCommand } from "../platform/command.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { createLineDiscipline, withCarriageReturns } from "./line-discipline.ts";
import { quoted, type WindowSize } from "./start-script.ts";
import { createTelnetDecoder, encodeTelnetText, encodeWindowSize } from "./telnet.ts";
import { openTerminal, type TerminalWay } from "./terminal.ts";

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

export interface FindOptions {
  readonly clock: Clock;
  readonly log: Log;
}

/** A Pi Zero that is busy takes seconds to start two shells. */
const PROBE_TIMEOUT_MS = 10_000;

/** {@link findTerminalWay}, once, when it is first needed. */
export function terminalWayFinder(options: FindOptions): () => Promise<TerminalWay> {
  let found: Promise<TerminalWay> | undefined;
  return async () => (found ??= findTerminalWay(options));
}

/**
 * The best way that works on this board, found by trying: tools may be there without the option that is
 * needed, and a board without /dev/pts has no terminals at all.
 */
export async function findTerminalWay(options: FindOptions): Promise<TerminalWay> {
  const [best, ...others] = TERMINAL_WAYS;
  let way: TerminalWay = best;
  for (const next of others) {
    const problem = await probe(way, options);
    if (problem === undefined) break;
    options.log.debug(`no terminal by ${way.name}: ${problem}`);
    way = next;
  }
  options.log.info(`terminals are made by ${way.name}`);
  return way;
}

/** What is wrong with it; undefined when a program that it runs finds itself on a terminal. */
async function probe(way: TerminalWay, { clock, log }: FindOptions): Promise<string | undefined> {
  let ended: (exitCode: number | null) => void = () => undefined;
  const exit = new Promise<number | null>((resolve) => (ended = resolve));
  try {
    const terminal = await openTerminal({
      way,
      shell: "/bin/sh",
      account: undefined,
      size: { rows: 24, columns: 80 },
      onOutput: () => undefined,
      onExit: ended,
      clock,
      log,
    });
    terminal.type("test -t 0 && exit 42; exit 1\r");
    const exitCode = await within(clock, PROBE_TIMEOUT_MS, exit, "no answer" as const);
    await terminal.end();
    if (exitCode === 42) return undefined;
    return exitCode === "no answer" ? exitCode : `it ended with ${exitCode ?? "a signal"}`;
  } catch (error) {
    return messageOf(error);
  }
}
