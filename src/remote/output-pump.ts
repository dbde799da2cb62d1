/**
 * The way of a shell's output to the hub: in batches, and no faster than the line and the hub can read. Without
 * the limits, `yes` over a modem would fill the line until heartbeats come too late and the link is cut.
 */
import { EventEmitter } from "node:events";
import { sleep, type Clock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

/** Where the output goes. */
export interface OutputSink {
  /** False when the line did not take it. */
  send(text: string): boolean;
  /** True when the hub has read everything that was sent before. */
  confirm(timeoutMs: number): Promise<boolean>;
}

export interface OutputPumpOptions {
  readonly sink: OutputSink;
  readonly clock: Clock;
  readonly log: Log;
}

interface OutputPumpEvents {
  /** Too much output waits: the shell has to wait too. */
  full: [];
  /** The shell may go on. */
  room: [];
}

/** About a screen of text: the most that one message holds. */
const BATCH_LENGTH = 8 * 1024;
/** Between two messages: too short to be seen, and `yes` costs at most 40 messages a second. */
const BATCH_INTERVAL_MS = 25;
/** Output that waits here before the shell has to wait. */
const FULL_LENGTH = 64 * 1024;
/**
 * Output sent and not yet confirmed. Heartbeats queue up behind it, so a modem has to send it well within the
 * time after which a silent link counts as dead.
 */
const WINDOW_LENGTH = 64 * 1024;
const CONFIRM_TIMEOUT_MS = 30_000;

export class OutputPump extends EventEmitter<OutputPumpEvents> {
  readonly #options: OutputPumpOptions;
  readonly #stopping = new AbortController();
  #pending = "";
  #open = false;
  #running = false;
  #full = false;
  #unconfirmedLength = 0;

  constructor(options: OutputPumpOptions) {
    super();
    this.#options = options;
  }

  get full(): boolean {
    return this.#full;
  }

  push(text: string): void {
    this.#pending += text;
    this.#updateFull();
    this.#start();
  }

  /** Whether the sink takes text at present; while it does not, output waits here. */
  setOpen(open: boolean): void {
    this.#open = open;
    this.#unconfirmedLength = 0;
    if (open) this.#start();
  }

  stop(): void {
    this.#stopping.abort(new Error("stopped"));
  }

  #isStopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  #updateFull(): void {
    const full = this.#pending.length >= FULL_LENGTH;
    if (full === this.#full) return;
    this.#full = full;
    this.emit(full ? "full" : "room");
  }

  #start(): void {
    if (this.#running || this.#isStopped()) return;
    this.#running = true;
    this.#run()
      .catch((error: unknown) => {
        if (!this.#isStopped()) this.#options.log.error(`sending output: ${messageOf(error)}`);
      })
      .finally(() => {
        this.#running = false;
        if (this.#pending !== "" && this.#open) this.#start(); // pushed just before the loop ended
      });
  }

  async #run(): Promise<void> {
    const { sink, clock } = this.#options;
    while (this.#pending !== "" && this.#open && !this.#isStopped()) {
      const batch = this.#pending.slice(0, batchEnd(this.#pending));
      if (sink.send(batch)) {
        this.#pending = this.#pending.slice(batch.length);
        this.#unconfirmedLength += batch.length;
        this.#updateFull();
      }
      if (this.#unconfirmedLength >= WINDOW_LENGTH) {
        await sink.confirm(CONFIRM_TIMEOUT_MS);
        this.#unconfirmedLength = 0;
      }
      if (this.#isStopped()) return;
      await sleep(clock, BATCH_INTERVAL_MS, this.#stopping.signal);
    }
  }
}

/** Where a batch ends: never between the halves of a surrogate pair, since most JSON readers refuse one half. */
function batchEnd(text: string): number {
  if (text.length <= BATCH_LENGTH) return text.length;
  const last = text.charCodeAt(BATCH_LENGTH - 1);
  return last >= 0xd800 && last <= 0xdbff ? BATCH_LENGTH - 1 : BATCH_LENGTH;
}
