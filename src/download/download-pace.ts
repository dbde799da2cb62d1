import type { Cancel, Clock } from "../platform/clock.ts";
import { LineFault } from "./download-failure.ts";

export interface PaceOptions {
  /** The longest wait for a byte. */
  readonly idleMs: number;
  /** The least over {@link WINDOW_MS}; 0 for none. */
  readonly minRateBytesS: number;
  /** On the monotonic clock. */
  readonly deadlineMs: number;
  readonly onFault: (fault: LineFault) => void;
  readonly onDeadline: () => void;
}

/** Watches how fast a line gives; only while it is waited for, so that a slow consumer is not its fault. */
export interface Pace {
  /** Waits for `work`, which brings as many bytes as `sizeOf` says. */
  readonly wait: <T>(work: Promise<T>, sizeOf: (result: T) => number) => Promise<T>;
  readonly stop: () => void;
}

/** Rates are taken over so much time spent waiting. */
const WINDOW_MS = 60_000;

export function createPace(clock: Clock, options: PaceOptions): Pace {
  const { idleMs, minRateBytesS, deadlineMs } = options;
  /** Of the window under way. */
  let waitedMs = 0;
  let bytes = 0;
  /** Up to where `waitedMs` has counted. */
  let countedMs = 0;
  let cancel: Cancel | undefined;

  const count = (): void => {
    const nowMs = clock.monotonic();
    waitedMs += nowMs - countedMs;
    countedMs = nowMs;
    if (waitedMs < WINDOW_MS) return;
    const rate = Math.floor(bytes / (waitedMs / 1000));
    waitedMs = 0;
    bytes = 0;
    if (rate >= minRateBytesS) return;
    const text = `the server gave ${rate} bytes/s, at least ${minRateBytesS} are wanted`;
    options.onFault(new LineFault(text, { tooSlow: true }));
  };

  /** @param idleAtMs when the wait for the next byte has been too long */
  const watch = (idleAtMs: number): void => {
    const dueMs = Math.min(idleAtMs, deadlineMs, countedMs + WINDOW_MS - waitedMs);
    cancel = clock.after(Math.max(0, dueMs - clock.monotonic()), () => {
      const nowMs = clock.monotonic();
      if (nowMs >= deadlineMs) {
        options.onDeadline();
      } else if (nowMs >= idleAtMs) {
        options.onFault(new LineFault(`no byte came for ${idleMs / 1000} s`));
      } else {
        count();
        watch(idleAtMs);
      }
    });
  };

  return {
    async wait(work, sizeOf) {
      countedMs = clock.monotonic();
      if (countedMs >= deadlineMs) options.onDeadline();
      watch(countedMs + idleMs);
      try {
        const result = await work;
        bytes += sizeOf(result);
        return result;
      } finally {
        cancel?.();
        count();
      }
    },
    stop() {
      cancel?.();
    },
  };
}
