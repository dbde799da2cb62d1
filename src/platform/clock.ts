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
