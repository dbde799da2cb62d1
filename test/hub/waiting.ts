/** How tests wait for a state of the hub: the condition is checked after each event, not by polling. */
import { PATIENCE_MS } from "../eventually.ts";

/** Waits for conditions, and checks them after each event. */
export interface Waiting {
  /** Checks all conditions, since something happened. */
  changed(): void;
  /**
   * Resolves to what `look` returns as soon as that is not undefined.
   * @param what the condition, for the failure
   * @param timeoutMs of real time; default: the patience of all tests
   * @throws when time is up, or the hub stops
   */
  until<T>(look: () => T | undefined, what: () => string, timeoutMs?: number): Promise<T>;
  /** Fails all that wait. */
  stop(): void;
}

export function createWaiting(): Waiting {
  const waiters = new Set<{ check: () => void; fail: (why: string) => void }>();
  return {
    changed() {
      for (const waiter of [...waiters]) waiter.check();
    },
    async until(look, what, timeoutMs = PATIENCE_MS) {
      const found = look();
      if (found !== undefined) return found;
      return new Promise((resolve, reject) => {
        const end = (): void => {
          clearTimeout(timer);
          waiters.delete(waiter);
        };
        const fail = (why: string): void => {
          end();
          reject(new Error(`${why}: ${what()}`));
        };
        const waiter = {
          fail,
          check: () => {
            const now = look();
            if (now === undefined) return;
            end();
            resolve(now);
          },
        };
        const timer = setTimeout(() => fail(`not within ${timeoutMs} ms`), timeoutMs);
        waiters.add(waiter);
      });
    },
    stop() {
      for (const waiter of [...waiters]) waiter.fail("the hub stopped");
    },
  };
}
