import { within, type Cancel, type Clock } from "../platform/clock.ts";
import { messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { TokenBucket } from "../platform/token-bucket.ts";
import { MAX_PUSHES, SETTLE_MS, STOP_MS, type Extension, type RunningExtension } from "./extension.ts";

export interface AttachmentOptions {
  readonly extension: Extension;
  readonly push: (event: string, payload: unknown) => boolean;
  readonly onStarted: () => void;
  /** It threw, hung or flooded, and is being ended; at most once, and not after `end`. */
  readonly onFailed: (reason: string) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** One extension from attach to detach, kept from hurting anything else. */
export interface Attachment {
  receive(event: string, payload: unknown): void;
  /** Resolves when it has stopped, or has had its time to. */
  end(): Promise<void>;
}

/** More messages than this that are still worked on means that it can't follow; the next ones are dropped. */
const MAX_PENDING = 16;
const LATE: unique symbol = Symbol("late");

export function attach(options: AttachmentOptions): Attachment {
  const { extension, log } = options;
  const ending = new AbortController();
  const clock = guardedClock(options.clock, (error) => fail(error));
  const pushes = new TokenBucket(MAX_PUSHES, options.clock);
  let running: RunningExtension | undefined;
  const pending = new Set<Promise<void>>();
  let ended: Promise<void> | undefined;

  const bounded = async <T>(what: string, limitMs: number, work: () => T | Promise<T>): Promise<T> => {
    const result = await within(options.clock, limitMs, (async () => work())(), LATE);
    if (result === LATE) throw new Error(`${what} takes longer than ${limitMs / 1000} s`);
    return result;
  };

  const stop = async (): Promise<void> => {
    ending.abort(new Error(`${extension.name} is detached`));
    clock.end();
    try {
      await bounded("stopping", STOP_MS, async () => {
        await (await starting).stop?.();
        await Promise.all(pending);
      });
    } catch (error) {
      log.warn(`stopping: ${messageOf(error)}`);
    }
  };
  const end = async (): Promise<void> => (ended ??= stop());

  const fail = (error: unknown): void => {
    if (ended !== undefined) return;
    void end(); // never rejects
    const reason = messageOf(error);
    log.error(`detached: ${reason}`);
    options.onFailed(reason);
  };

  const context = {
    clock,
    log,
    signal: ending.signal,
    fail,
    push(event: string, payload: unknown): boolean {
      if (running === undefined || ended !== undefined) return false;
      if (pushes.take()) return options.push(event, payload);
      fail(new Error(`more than ${MAX_PUSHES.perSecond} messages a second`));
      return false;
    },
  };

  const starting = (async () => extension.start(context))();
  bounded("starting", SETTLE_MS, async () => starting)
    .then((started) => {
      if (ended !== undefined) return;
      running = started;
      options.onStarted();
    })
    .catch(fail);

  return {
    receive(event, payload) {
      const current = running;
      if (current === undefined || ended !== undefined) return;
      if (pending.size === MAX_PENDING) {
        log.debug(`dropped the hub's ${event}: too many at once`);
        return;
      }
      const work = bounded(event, SETTLE_MS, async () => current.onMessage(event, payload))
        .catch(fail)
        .finally(() => pending.delete(work));
      pending.add(work);
    },
    end,
  };
}

/** A clock whose timers hurt no one but their owner, and end with it. */
function guardedClock(clock: Clock, onError: (error: unknown) => void): Clock & { end(): void } {
  const timers = new Set<Cancel>();
  let ended = false;
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    after(delayMs, task) {
      if (ended) return () => undefined;
      const cancel = clock.after(delayMs, () => {
        timers.delete(cancel);
        try {
          task();
        } catch (error) {
          onError(error);
        }
      });
      timers.add(cancel);
      return () => {
        timers.delete(cancel);
        cancel();
      };
    },
    end() {
      ended = true;
      for (const cancel of timers) cancel();
      timers.clear();
    },
  };
}
