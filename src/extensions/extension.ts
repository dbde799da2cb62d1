import type { Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";

/** One of NervesHub's extensions (protocol §6). Each attachment gets an instance of its own. */
export interface Extension {
  readonly name: string;
  /** The version of its messages; the hub attaches those that it knows. */
  readonly version: string;
  /** Begins when the hub attaches it; it has {@link SETTLE_MS} for that. What it throws detaches it again. */
  readonly start: (context: ExtensionContext) => RunningExtension | Promise<RunningExtension>;
}

/** An attached extension. */
export interface RunningExtension {
  /**
   * Takes `EVENT` of the hub's `NAME:EVENT`. Messages come in their order, the next one before the promise of
   * the last has settled; one that does not settle within {@link SETTLE_MS}, or fails, detaches the extension.
   */
  onMessage(event: string, payload: unknown): void | Promise<void>;
  /** Ends what `context.signal` and `context.clock` don't; it has {@link STOP_MS}. */
  stop?(): void | Promise<void>;
}

/** What an extension may use while it is attached. */
export interface ExtensionContext {
  /**
   * Sends `NAME:EVENT`. False when the line did not take it: not attached (any more), or too slow. An extension
   * that tries more often than {@link MAX_PUSHES} allows is detached.
   */
  readonly push: (event: string, payload: unknown) => boolean;
  /** Timers of this clock end with the attachment; what one throws detaches the extension. */
  readonly clock: Clock;
  /** Its lines carry the extension's name. */
  readonly log: Log;
  /** Aborted when the extension is detached: for children, requests and waits. */
  readonly signal: AbortSignal;
  /** Detaches the extension: for what goes wrong where nobody catches it, such as in a listener. */
  readonly fail: (error: unknown) => void;
}

/** What an extension's start and each of its messages may take. */
export const SETTLE_MS = 30_000;
/** Well below the 10 s in which the agent itself has to end. */
export const STOP_MS = 3000;
/** More than a busy shell's output in batches, less than what would keep the line from the update's messages. */
export const MAX_PUSHES = { perSecond: 50, burst: 200 };
