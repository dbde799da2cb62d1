/** Ends a pending timer; harmless when it has already run. */
export type Cancel = () => void;

/** Time as the agent sees it; injected, so that tests run on a fake one. */
export interface Clock {
  /** Wall-clock time in ms since 1970; may jump. */
  now(): number;
  /** Time in ms since an arbitrary start; never jumps. */
  monotonic(): number;
  /** Runs `task` once after `delayMs`. */
  after(delayMs: number, task: () => void): Cancel;
}

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
    const onAbort = (): void => {
      cancel();
      reject(signal?.reason as Error);
    };
    const cancel = clock.after(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/**
 * Settles as `work` does, or resolves to `fallback` after `delayMs`, whichever comes first.
 * `work` goes on; the caller ends it if it must end.
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

/**
 * Reads at most once in `maxAgeMs`, whoever asks and however often; a read that failed is tried again by the
 * next who asks.
 */
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
 * Settles as `work` does, unless `signal` is aborted first; `work` then goes on, unheeded.
 * @throws what `work` throws; the signal's reason
 */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
  });
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
