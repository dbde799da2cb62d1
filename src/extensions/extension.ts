/**
 * The interface of an extension, and the things it may use while it is attached. The attachment enforces the
 * limits, so an extension holds no code for them.
 */
import type { Clock } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";

/** One of NervesHub's extensions (protocol §6). Each attachment gets an instance of its own. */
export interface Extension {
  readonly name: string;
  /** The versions of its messages that it has, the preferred one first: the hub and the board agree on one. */
  readonly versions: readonly [string, ...string[]];
  /** Called when the hub attaches it; has {@link SETTLE_MS} to resolve. An error detaches it again. */
  readonly start: (context: ExtensionContext) => RunningExtension | Promise<RunningExtension>;
}

/** An attached extension. */
export interface RunningExtension {
  /**
   * Handles `EVENT` of the hub's `NAME:EVENT`. Messages come in order, but the next one may come before the
   * promise of the last has settled. One that fails or takes longer than {@link SETTLE_MS} detaches the extension.
   */
  onMessage(event: string, payload: unknown): void | Promise<void>;
  /** Ends everything that `context.signal` and `context.clock` do not end; has {@link STOP_MS} to resolve. */
  stop?(): void | Promise<void>;
}

/** The things that an extension may use while it is attached. */
export interface ExtensionContext {
  /** The one of its versions that was agreed on. */
  readonly version: string;
  /**
   * Sends `NAME:EVENT`. False when it was not sent: the extension is not attached, or the line is too slow. An
   * extension that sends more often than {@link MAX_PUSHES} allows is detached.
   */
  readonly push: (event: string, payload: unknown) => boolean;
  /** Timers of this clock end with the attachment; an error in one detaches the extension. */
  readonly clock: Clock;
  /** Its lines carry the extension's name. */
  readonly log: Log;
  /** Aborted when the extension is detached: for children, requests and waits. */
  readonly signal: AbortSignal;
  /** Detaches the extension: for errors in a listener or a promise that nobody awaits. */
  readonly fail: (error: unknown) => void;
}

/** Limit for an extension's start and for each of its messages. */
export const SETTLE_MS = 30_000;
/** Well below the 10 s within which the agent has to end. */
export const STOP_MS = 3000;
/** More than a busy shell sends (40 batches a second); fewer than would hold up the messages of an update. */
export const MAX_PUSHES = { perSecond: 50, burst: 200 };
