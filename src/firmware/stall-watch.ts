/**
 * Tells an fwup that hangs from one that is slow. A slow disk takes its time for a frame, and takes it; a hung fwup
 * neither reads nor reports, and would hold up the board for ever.
 */
import type { Cancel, Clock } from "../platform/clock.ts";

/** Calls back when fwup has had work for too long without reading a byte or reporting progress. */
export class StallWatch {
  readonly #clock: Clock;
  readonly #stallMs: number;
  readonly #onStall: () => void;
  #cancel: Cancel | undefined;
  #over = false;
  #stalled = false;

  constructor(clock: Clock, stallMs: number, onStall: () => void) {
    this.#clock = clock;
    this.#stallMs = stallMs;
    this.#onStall = onStall;
  }

  get stalled(): boolean {
    return this.#stalled;
  }

  /** fwup has work from now on. */
  start(): void {
    this.pause();
    if (this.#over) return;
    this.#cancel = this.#clock.after(this.#stallMs, () => {
      this.#stalled = true;
      this.#onStall();
    });
  }

  /** fwup reported something. */
  progressed(): void {
    if (this.#cancel !== undefined) this.start();
  }

  /** fwup waits for input. */
  pause(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** fwup has ended. */
  stop(): void {
    this.#over = true;
    this.pause();
  }
}
