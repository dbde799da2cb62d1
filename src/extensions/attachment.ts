/**
 * The wall around one extension, from its attachment to its end. An extension that throws, hangs or floods the
 * line is detached and reported to the hub, and nothing else is disturbed: updates must go on when a hook of the
 * geo extension hangs.
 */
import { type Cancel, type Clock, within } from "../platform/clock.ts";
import { noteDefect } from "../platform/defects.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";
import { TokenBucket } from "../platform/pace.ts";
import {
  type Extension,
  type ExtensionContext,
  MAX_PUSHES,
  type RunningExtension,
  SETTLE_MS,
  STOP_MS,
} from "./extension.ts";

export interface AttachmentOptions {
  readonly extension: Extension;
  /** The version that was agreed on. */
  readonly version: string;
  readonly push: (event: string, payload: unknown) => boolean;
  readonly onStarted: () => void;
  /** Called when the extension failed and is being ended: at most once, and not after `end`. */
  readonly onFailed: (reason: string) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Messages that the extension works on at once; further ones are dropped. */
const MAX_PENDING = 16;
const LATE: unique symbol = Symbol("late");

export class Attachment {
  readonly #options: AttachmentOptions;
  readonly #ending = new AbortController();
  readonly #clock: GuardedClock;
  readonly #pushes: TokenBucket;
  readonly #pending = new Set<Promise<void>>();
  readonly #starting: Promise<RunningExtension>;
  #running: RunningExtension | undefined;
  #ended: Promise<void> | undefined;

  /** Starts the extension. */
  constructor(options: AttachmentOptions) {
    this.#options = options;
    this.#clock = new GuardedClock(options.clock, (error) => this.#fail(error));
    this.#pushes = new TokenBucket(MAX_PUSHES, options.clock);
    this.#starting = (async () => options.extension.start(this.#context()))();
    this.#limited("starting", SETTLE_MS, async () => this.#starting)
      .then((running) => {
        if (this.#ended !== undefined) return;
        this.#running = running;
        options.onStarted();
      })
      .catch((error: unknown) => this.#fail(error));
  }

  /** The version that was agreed on. */
  get version(): string {
    return this.#options.version;
  }

  /** Passes a message of the hub to the extension. */
  receive(event: string, payload: unknown): void {
    const running = this.#running;
    if (running === undefined || this.#ended !== undefined) return;
    if (this.#pending.size === MAX_PENDING) {
      this.#options.log.debug(`dropped the hub's ${event}: too many at once`);
      return;
    }
    const work = this.#limited(event, SETTLE_MS, async () => running.onMessage(event, payload))
      .catch((error: unknown) => this.#fail(error))
      .finally(() => this.#pending.delete(work));
    this.#pending.add(work);
  }

  /** Resolves when the extension has stopped, or its time to stop is over. Never rejects. */
  async end(): Promise<void> {
    await (this.#ended ??= this.#stop());
  }

  #context(): ExtensionContext {
    return {
      version: this.#options.version,
      clock: this.#clock,
      log: this.#options.log,
      signal: this.#ending.signal,
      fail: (error) => this.#fail(error),
      push: (event, payload) => this.#push(event, payload),
    };
  }

  #push(event: string, payload: unknown): boolean {
    if (this.#running === undefined || this.#ended !== undefined) return false;
    if (this.#pushes.take()) return this.#options.push(event, payload);
    this.#fail(new Failure("failed", `more than ${MAX_PUSHES.perSecond} messages a second`));
    return false;
  }

  #fail(error: unknown): void {
    if (this.#ended !== undefined) return;
    void this.end(); // never rejects
    noteDefect(error, this.#options.extension.name);
    const reason = messageOf(error);
    this.#options.log.error(`detached: ${reason}`);
    this.#options.onFailed(reason);
  }

  async #stop(): Promise<void> {
    const { extension, log } = this.#options;
    this.#ending.abort(new Error(`${extension.name} is detached`));
    this.#clock.end();
    try {
      await this.#limited("stopping", STOP_MS, async () => {
        await (await this.#starting).stop?.();
        await Promise.all(this.#pending);
      });
    } catch (error) {
      log.warn(`stopping: ${messageOf(error)}`);
    }
  }

  async #limited<T>(what: string, limitMs: number, work: () => Promise<T>): Promise<T> {
    const result = await within(this.#options.clock, limitMs, work(), LATE);
    if (result === LATE) throw new Failure("failed", `${what} takes longer than ${limitMs / 1000} s`);
    return result;
  }
}

/** A clock whose timers end with the attachment. An error in one fails the extension and not the process. */
class GuardedClock implements Clock {
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  readonly #timers = new Set<Cancel>();
  #ended = false;

  constructor(clock: Clock, onError: (error: unknown) => void) {
    this.#clock = clock;
    this.#onError = onError;
  }

  now(): number {
    return this.#clock.now();
  }

  monotonic(): number {
    return this.#clock.monotonic();
  }

  after(delayMs: number, task: () => void): Cancel {
    if (this.#ended) return () => undefined;
    const cancel = this.#clock.after(delayMs, () => {
      this.#timers.delete(cancel);
      try {
        task();
      } catch (error) {
        this.#onError(error);
      }
    });
    this.#timers.add(cancel);
    return () => {
      this.#timers.delete(cancel);
      cancel();
    };
  }

  end(): void {
    this.#ended = true;
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
  }
}
