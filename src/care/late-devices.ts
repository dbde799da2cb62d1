/**
 * Looks again for what was missing when the agent started: the disk with the slots, a watchdog. Drivers and disks may
 * come up after the agent. A board once refused every update, and ran without its watchdog, because its disk was one
 * second late.
 */
import { type Clock, sleep } from "../platform/clock.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

/** Until the first look; twice as long each time after that, since what is still missing is rarely late. */
const FIRST_LOOK_MS = 2000;
const LONGEST_MS = 300_000;

export class LateDevices {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #stop = new AbortController();
  #looking: Promise<void> | undefined;

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Calls `look` again and again until it says that nothing is missing any more. */
  start(look: () => Promise<boolean>): void {
    this.#looking = this.#run(look);
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Failure("stopped", "the agent stops"));
    await this.#looking;
  }

  async #run(look: () => Promise<boolean>): Promise<void> {
    const { signal } = this.#stop;
    for (let waitMs = FIRST_LOOK_MS; ; waitMs = Math.min(2 * waitMs, LONGEST_MS)) {
      try {
        await sleep(this.#clock, waitMs, signal);
        if (await look()) return;
      } catch (error) {
        if (signal.aborted) return;
        this.#log.error(`looking for late devices: ${messageOf(error)}`);
      }
    }
  }
}
