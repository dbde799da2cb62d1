import type { Clock } from "./clock.ts";

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
