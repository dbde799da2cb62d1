/**
 * What the board asks its hub about updates (device API 2.4.0, protocol §7.2): whether there is one, to have it now,
 * and who chooses the moment. Older hubs ignore such questions, so each ends with an error after a time. A hub that is
 * busy says when to come back; it is not asked before.
 */
import { EventEmitter } from "node:events";
import type { Available, SettableMode, Update, UpdateMode } from "../hub/device-messages.ts";
import type { DeviceTopic } from "../hub/device-topic.ts";
import { type Clock, unlessAborted, within } from "../platform/clock.ts";
import { failedWith, Failure, messageOf } from "../platform/failure.ts";
import type { Log } from "../platform/log.ts";

export interface HubUpdatesEvents {
  /** The hub said which mode holds; it says so at each join, too. */
  mode: [mode: UpdateMode];
  /** The hub is busy, and is to be asked for the update again after this time, ms. */
  busy: [delayMs: number];
}

/** The hub's answer to `request_update`. */
export type Requested =
  | { readonly granted: true; readonly update: Update }
  /** `delayMs`: when to ask again; undefined when the hub does not say. */
  | { readonly granted: false; readonly reason: string; readonly delayMs: number | undefined };

export interface HubUpdatesOptions {
  readonly hub: Pick<DeviceTopic, "joined" | "rejoin" | "send">;
  readonly clock: Clock;
  readonly log: Log;
}

/** NervesHub answers at once; a board's line may need seconds. */
const ANSWER_MS = 10_000;

export class HubUpdates extends EventEmitter<HubUpdatesEvents> {
  readonly #options: HubUpdatesOptions;
  readonly #end = new AbortController();
  readonly #checks = new Question<Available>();
  readonly #requests = new Question<Requested>();
  readonly #modes = new Question<UpdateMode>();
  #mode: UpdateMode | undefined;
  /** On the clock that never jumps. */
  #busyUntilMs = 0;

  constructor(options: HubUpdatesOptions) {
    super();
    this.#options = options;
  }

  /** What the hub said last; undefined while it has said nothing, as hubs before device API 2.4.0. */
  get mode(): UpdateMode | undefined {
    return this.#mode;
  }

  /** Whether the hub answers `request_update`, and may grant it. */
  get grants(): boolean {
    return this.#mode !== undefined && this.#mode.mode !== "off";
  }

  /**
   * Which firmware the hub has for this board.
   * @throws Failure `not_connected` or `hub_unanswered`
   */
  async check(): Promise<Available> {
    return await this.#ask(this.#checks, () =>
      this.#options.hub.send({ event: "check_update", payload: {} }),
    );
  }

  /**
   * Asks for the update now. If it is granted, it comes as any other.
   * @throws Failure `not_connected` or `hub_unanswered`
   */
  async request(): Promise<Requested> {
    const restMs = this.#busyUntilMs - this.#options.clock.monotonic();
    if (restMs > 0) return { granted: false, reason: "busy", delayMs: restMs };
    return await this.#ask(this.#requests, () =>
      this.#options.hub.send({ event: "request_update", payload: {} }),
    );
  }

  /**
   * Chooses who starts this board's updates.
   * @throws Failure `not_connected`, `hub_unanswered` or `update_mode_refused`
   */
  async setMode(mode: SettableMode): Promise<UpdateMode> {
    const answer = await this.#ask(this.#modes, () =>
      this.#options.hub.send({ event: "set_update_mode", payload: { mode } }),
    );
    if (answer.mode === mode) return answer;
    const why =
      answer.mode === "off"
        ? "its updates are switched off there"
        : `it is ${answer.mode}${answer.managed_updates_allowed ? "" : ", and boards may not manage their updates"}`;
    throw new Failure("update_mode_refused", `the hub did not take the mode ${mode}: ${why}`);
  }

  /** Has the hub send an update that was put off: asks for it, or joins again where the hub knows no such question. */
  async askAgain(): Promise<void> {
    const { hub, log } = this.#options;
    try {
      if (!this.grants) {
        hub.rejoin();
        return;
      }
      const answer = await this.request();
      if (!answer.granted) log.info(`the hub sends no update now: ${answer.reason}`);
    } catch (error) {
      if (this.#end.signal.aborted) return;
      log.info(`asking for the update: ${messageOf(error)}`);
      if (failedWith(error, "hub_unanswered")) hub.rejoin();
    }
  }

  /** The hub said which mode holds. */
  modeArrived(mode: UpdateMode): void {
    this.#mode = mode;
    this.#modes.answer(mode);
    this.emit("mode", mode);
  }

  availableArrived(available: Available): void {
    this.#checks.answer(available);
  }

  /** The hub sent an update, asked or not. */
  updateArrived(update: Update): void {
    this.#busyUntilMs = 0;
    this.#requests.answer({ granted: true, update });
  }

  rejected(reason: string, delayMs: number | undefined): void {
    this.#requests.answer({ granted: false, reason, delayMs });
    if (delayMs === undefined || delayMs === 0) return;
    this.#busyUntilMs = this.#options.clock.monotonic() + delayMs;
    this.emit("busy", delayMs);
  }

  stop(): void {
    this.#end.abort(new Failure("stopped", "the agent stops"));
  }

  async #ask<T extends object>(question: Question<T>, send: () => boolean): Promise<T> {
    this.#end.signal.throwIfAborted();
    const answer = question.next();
    try {
      if (!this.#options.hub.joined || !send())
        throw new Failure("not_connected", "the hub is not connected");
      const come = unlessAborted(answer.value, this.#end.signal);
      const value = await within(this.#options.clock, ANSWER_MS, come, undefined);
      if (value !== undefined) return value;
    } finally {
      answer.forget();
    }
    const text = `the hub gave no answer in ${ANSWER_MS / 1000} s; hubs before device API 2.4.0 know no such question`;
    throw new Failure("hub_unanswered", text);
  }
}

/** Those who wait for the hub's next message of one kind. */
class Question<T> {
  readonly #waiting = new Set<(value: T) => void>();

  /** To be forgotten when nobody waits any more. */
  next(): { readonly value: Promise<T>; forget(): void } {
    let resolve: (value: T) => void = () => undefined;
    const value = new Promise<T>((settle) => (resolve = settle));
    this.#waiting.add(resolve);
    return { value, forget: () => this.#waiting.delete(resolve) };
  }

  answer(value: T): void {
    for (const resolve of this.#waiting) resolve(value);
  }
}
