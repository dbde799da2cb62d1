/**
 * The agent's questions to the application that is the controller. Each has an end: an answer, a timeout, the
 * caller's signal, or the application's departure; an update must not wait for ever for a program that hangs.
 */
import { type Clock, unlessAborted, within } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import type { Question, Response } from "./messages.ts";

/** How a question to the controller ended. */
export type ControllerAnswer =
  /** As the application sent it: the caller parses it. */
  | { readonly type: "result"; readonly result: unknown }
  /** The application answered with an error. */
  | { readonly type: "error"; readonly code: string; readonly message: string }
  | { readonly type: "timeout" }
  /** There is none, or it went away in the middle. */
  | { readonly type: "no-controller" };

export interface AskOptions {
  readonly timeoutMs: number;
  /** Ends the waiting. */
  readonly signal: AbortSignal;
}

/** More are not asked: an application that never answers costs no memory. */
const MAX_UNANSWERED = 8;

/** The questions that one application has not answered yet. */
export class Questions {
  readonly #send: (question: Question) => boolean;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #waiting = new Map<string, (answer: ControllerAnswer) => void>();
  #lastId = 0;

  /** @param send returns false when the application does not read what is sent to it */
  constructor(send: (question: Question) => boolean, clock: Clock, log: Log) {
    this.#send = send;
    this.#clock = clock;
    this.#log = log;
  }

  /** @throws the signal's reason */
  async ask(method: string, params: unknown, { timeoutMs, signal }: AskOptions): Promise<ControllerAnswer> {
    const id = String(++this.#lastId);
    if (this.#waiting.size >= MAX_UNANSWERED || !this.#send({ type: "request", id, method, params })) {
      this.#log.warn(`the application was not asked ${method}: it answers none of the questions before`);
      return { type: "timeout" };
    }
    try {
      const answer = new Promise<ControllerAnswer>((resolve) => this.#waiting.set(id, resolve));
      const timeout: ControllerAnswer = { type: "timeout" };
      return await unlessAborted(within(this.#clock, timeoutMs, answer, timeout), signal);
    } finally {
      this.#waiting.get(id)?.({ type: "timeout" }); // aborted: ends the timer too
      this.#waiting.delete(id);
    }
  }

  /** Handles a response of the application. */
  answer({ id, error, result }: Response): void {
    const resolve = this.#waiting.get(id);
    if (resolve === undefined) {
      this.#log.warn("ignored an answer of the application: it comes too late, or nothing was asked", { id });
    } else {
      resolve(error === undefined ? { type: "result", result } : { type: "error", ...error });
    }
    this.#waiting.delete(id);
  }

  /** The application has gone. */
  end(): void {
    for (const resolve of this.#waiting.values()) resolve({ type: "no-controller" });
    this.#waiting.clear();
  }
}
