import { sleep, type Clock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

/** Where a shell's output goes. */
export interface OutputSink {
  /** False when it was not taken. */
  send(text: string): boolean;
  /** True when the hub has read all that was sent before. */
  confirm(timeoutMs: number): Promise<boolean>;
}

export interface OutputPumpOptions {
  readonly sink: OutputSink;
  /** So much waits that the shell has to wait as well. */
  readonly onFull: () => void;
  readonly onRoom: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Brings text to the hub in batches, no faster than line and hub take it. */
export interface OutputPump {
  readonly full: boolean;
  push(text: string): void;
  /** The sink takes text, or does not for now: then all waits. */
  setOpen(open: boolean): void;
  stop(): void;
}

/** About a screen of text: what is sent in one message. */
const BATCH_LENGTH = 8 * 1024;
/** Between messages: nobody sees it, and `yes` costs 40 messages a second at most. */
const BATCH_INTERVAL_MS = 25;
/** What waits here before the shell has to. */
const FULL_LENGTH = 64 * 1024;
/**
 * What is on its way to the hub at most. Heartbeats queue up behind it, so a modem's line has to take it
 * well within the time that makes a link count as dead.
 */
const WINDOW_LENGTH = 64 * 1024;
const CONFIRM_TIMEOUT_MS = 30_000;

export function createOutputPump(options: OutputPumpOptions): OutputPump {
  const { sink, clock } = options;
  const stopping = new AbortController();
  let pending = "";
  let isOpen = false;
  let running = false;
  let full = false;
  let unconfirmedLength = 0;

  const look = (): void => {
    const now = pending.length >= FULL_LENGTH;
    if (now === full) return;
    full = now;
    if (full) options.onFull();
    else options.onRoom();
  };

  const isStopped = (): boolean => stopping.signal.aborted;

  const run = async (): Promise<void> => {
    while (pending !== "" && isOpen && !isStopped()) {
      const batch = pending.slice(0, batchEnd(pending));
      if (sink.send(batch)) {
        pending = pending.slice(batch.length);
        unconfirmedLength += batch.length;
        look();
      }
      if (unconfirmedLength >= WINDOW_LENGTH) {
        await sink.confirm(CONFIRM_TIMEOUT_MS);
        unconfirmedLength = 0;
      }
      if (isStopped()) return;
      await sleep(clock, BATCH_INTERVAL_MS, stopping.signal);
    }
  };

  const start = (): void => {
    if (running || isStopped()) return;
    running = true;
    run()
      .catch((error: unknown) => {
        if (!isStopped()) options.log.error(`sending output: ${messageOf(error)}`);
      })
      .finally(() => {
        running = false;
        if (pending !== "" && isOpen) start(); // it came between the last look and now
      });
  };

  return {
    get full() {
      return full;
    },
    push(text) {
      pending += text;
      look();
      start();
    },
    setOpen(open) {
      isOpen = open;
      unconfirmedLength = 0;
      if (open) start();
    },
    stop() {
      stopping.abort(new Error("stopped"));
    },
  };
}

/** Never between the halves of a surrogate pair: half a character is no text to most JSON readers. */
function batchEnd(text: string): number {
  if (text.length <= BATCH_LENGTH) return text.length;
  const last = text.charCodeAt(BATCH_LENGTH - 1);
  return last >= 0xd800 && last <= 0xdbff ? BATCH_LENGTH - 1 : BATCH_LENGTH;
}
