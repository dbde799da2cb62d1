import { within, type Clock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { openTerminal } from "./terminal.ts";
import { TERMINAL_WAYS, type TerminalWay } from "./terminal-ways.ts";

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
