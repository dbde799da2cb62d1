import { type Clock, unlessAborted, within } from "../platform/clock.ts";
import type { Log } from "../platform/log.ts";
import type { Question, Response } from "./messages.ts";

/** What came of a question to the controller. */
export type ControllerAnswer =
  /** As the application sent it: whoever asks parses it. */
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

/** The questions that one application has not answered yet. */
export interface Questions {
  /** @throws the signal's reason */
  ask(method: string, params: unknown, options: AskOptions): Promise<ControllerAnswer>;
  /** Takes what the application sent. */
  answer(response: Response): void;
  /** The application has gone. */
  end(): void;
}

/** More are not put: an application that never answers costs no memory. */
const MAX_UNANSWERED = 8;

/** @param send false when the application does not read what is sent to it */
export function createQuestions(send: (question: Question) => boolean, clock: Clock, log: Log): Questions {
  const waiting = new Map<string, (answer: ControllerAnswer) => void>();
  let lastId = 0;

  return {
    async ask(method, params, { timeoutMs, signal }) {
      const id = String(++lastId);
      if (waiting.size >= MAX_UNANSWERED || !send({ type: "request", id, method, params })) {
        log.warn(`the application was not asked ${method}: it answers none of the questions before`);
        return { type: "timeout" };
      }
      try {
        const answer = new Promise<ControllerAnswer>((resolve) => waiting.set(id, resolve));
        const timeout: ControllerAnswer = { type: "timeout" };
        return await unlessAborted(within(clock, timeoutMs, answer, timeout), signal);
      } finally {
        waiting.get(id)?.({ type: "timeout" }); // aborted: ends the timer too
        waiting.delete(id);
      }
    },
    answer({ id, error, result }) {
      const resolve = waiting.get(id);
      if (resolve === undefined) {
        log.warn("ignored an answer of the application: it comes too late, or nothing was asked", { id });
      } else {
        resolve(error === undefined ? { type: "result", result } : { type: "error", ...error });
      }
      waiting.delete(id);
    },
    end() {
      for (const resolve of waiting.values()) resolve({ type: "no-controller" });
      waiting.clear();
    },
  };
}
