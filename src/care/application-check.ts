import { sleep, type Clock } from "../platform/clock.ts";
import { failedEnd, type runCommand } from "../platform/command.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

export interface ApplicationCheckOptions {
  /** `watchdog.command`; empty: there is no check. */
  readonly command: string;
  readonly clock: Clock;
  readonly runCommand: typeof runCommand;
  readonly log: Log;
}

/** The application's own check, by which the watchdogs are fed or not. */
export interface ApplicationCheck {
  /** How often it has failed since it last succeeded. */
  readonly failures: number;
  start(): void;
  /** Ends it, also while it runs. */
  stop(): Promise<void>;
}

const EACH_MS = 60_000;
const TIMEOUT_MS = 30_000;

/** Runs the command once a minute from one minute after the start on; it is killed after 30 s. */
export function createApplicationCheck(options: ApplicationCheckOptions): ApplicationCheck {
  const { command, clock, log } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  let failures = 0;
  let running: Promise<void> | undefined;

  /** @returns what is wrong */
  const check = async (): Promise<string | undefined> => {
    try {
      const result = await options.runCommand(command, { clock, timeoutMs: TIMEOUT_MS, signal });
      return result.exitCode === 0 ? undefined : failedEnd(result, TIMEOUT_MS);
    } catch (error) {
      return `can't be run: ${messageOf(error)}`;
    }
  };

  const run = async (): Promise<void> => {
    for (;;) {
      await sleep(clock, EACH_MS, signal);
      const problem = await check();
      if (signal.aborted) return;
      failures = problem === undefined ? 0 : failures + 1;
      if (problem !== undefined) log.warn(`watchdog.command ${problem}`, { times: failures });
    }
  };

  return {
    get failures() {
      return failures;
    },
    start() {
      if (command === "") return;
      running = run().catch((error: unknown) => {
        if (!signal.aborted) log.error(`watchdog.command: ${messageOf(error)}`);
      });
    },
    async stop() {
      stopping.abort(new Error("the agent stops"));
      await running;
    },
  };
}
