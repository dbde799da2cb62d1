/**
 * Time as a parameter, and waiting that ends. A test gives a fake clock and moves it, so that no test sleeps;
 * the agent gives the clock of the clock guard, because a board without a battery starts in the past.
 */
import { addAbortListener } from "node:events";

/** Ends a pending timer; harmless when it has already run. */
export type Cancel = () => void;

/** The time of the agent. */
export interface Clock {
  /** Wall-clock time in ms since 1970; may jump. */
  now(): number;
  /** Time in ms since an arbitrary start; never jumps. */
  monotonic(): number;
  /** Runs `task` once after `delayMs`. */
  after(delayMs: number, task: () => void): Cancel;
}

/** No clock that is right gives a year of five digits, and no signature can carry one much later. */
export const LATEST_DATE_MS = Date.UTC(10_000, 0);

/** setTimeout's largest delay; a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The machine's own time. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, task) {
    const timer = setTimeout(task, Math.min(delayMs, MAX_TIMER_MS));
    return () => clearTimeout(timer);
  },
};

/**
 * Resolves after `delayMs`.
 * @throws the signal's reason when it is aborted first
 */
export async function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const cancel = clock.after(delayMs, () => {
      listener?.[Symbol.dispose]();
      resolve();
    });
    const listener =
      signal &&
      addAbortListener(signal, () => {
        cancel();
        reject(signal.reason as Error);
      });
  });
}

/**
 * Settles as `work` does, or resolves to `fallback` if that takes longer than `delayMs`. `work` is not ended
 * by this: that is for the caller to do.
 */
export async function within<T, F>(
  clock: Clock,
  delayMs: number,
  work: Promise<T>,
  fallback: F,
): Promise<T | F> {
  let cancel: Cancel = () => undefined;
  const deadline = new Promise<F>((resolve) => {
    cancel = clock.after(delayMs, () => resolve(fallback));
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    cancel();
  }
}

/** Reads at most once in `maxAgeMs` and gives every caller that value; an error is not kept. */
export function cached<T>(
  clock: Pick<Clock, "monotonic">,
  maxAgeMs: number,
  read: () => Promise<T>,
): () => Promise<T> {
  let last: { readonly value: Promise<T>; readonly atMs: number } | undefined;
  return async () => {
    const nowMs = clock.monotonic();
    if (last !== undefined && nowMs - last.atMs < maxAgeMs) return await last.value;
    const value = read();
    last = { value, atMs: nowMs };
    try {
      return await value;
    } catch (error) {
      last = undefined;
      throw error;
    }
  };
}

/**
 * Settles as `work` does, unless `signal` is aborted first. `work` is not ended by this.
 * @throws what `work` throws; the signal's reason
 */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    abort = () => reject(signal.reason as Error);
  });
  using _listener = addAbortListener(signal, abort);
  return await Promise.race([work, aborted]);
}
