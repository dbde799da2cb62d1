/**
 * The application's own check, `watchdog.command`: when it fails several times in a row, the watchdogs are no
 * longer fed (watchdogs.ts). It begins a minute after the start, so that the application has time to come up.
 */
import { sleep } from "../platform/clock.ts";
import { failedEnd } from "../platform/command.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import type { World } from "../platform/world.ts";

const INTERVAL_MS = 60_000;
const TIMEOUT_MS = 30_000;

/** Runs the command once a minute, and kills it after 30 s. */
export class ApplicationCheck {
  readonly #command: string;
  readonly #world: World;
  readonly #log: Log;
  readonly #stop = new AbortController();
  #failures = 0;
  #running: Promise<void> | undefined;

  /** @param command line for the shell; empty for no check */
  constructor(command: string, world: World, log: Log) {
    this.#command = command;
    this.#world = world;
    this.#log = log;
  }

  /** How often it has failed since it last succeeded. */
  get failures(): number {
    return this.#failures;
  }

  start(): void {
    if (this.#command === "") return;
    this.#running = this.#run().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#log.error(`watchdog.command: ${messageOf(error)}`);
    });
  }

  /** Ends it, also while it runs. */
  async stop(): Promise<void> {
    this.#stop.abort(new Failure("stopped", "the agent stops"));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (;;) {
      await sleep(this.#world.clock, INTERVAL_MS, signal);
      const problem = await this.#check();
      if (signal.aborted) return;
      this.#failures = problem === undefined ? 0 : this.#failures + 1;
      if (problem !== undefined) this.#log.warn(`watchdog.command ${problem}`, { times: this.#failures });
    }
  }

  /** @returns what is wrong */
  async #check(): Promise<string | undefined> {
    const { clock, run } = this.#world;
    try {
      const result = await run(this.#command, { clock, timeoutMs: TIMEOUT_MS, signal: this.#stop.signal });
      return result.exitCode === 0 ? undefined : failedEnd(result, TIMEOUT_MS);
    } catch (error) {
      return `can't be run: ${messageOf(error)}`;
    }
  }
}
