import { Failure, messageOf } from "../platform/failure.ts";
import type { FailureCode } from "../platform/failures.ts";
import { columnsOf, type CommandContext, wrap } from "./terminal.ts";

/** Prints findings as they come, and keeps the first that is an error. */
export interface Report {
  add(mark: Mark, subject: string, text: string): void;
  /** @param setting where in the configuration it may be put right */
  fail(subject: string, setting: string, error: unknown): void;
  /** @throws Failure that stands for the first thing that is wrong, if anything is */
  end(): void;
}

const MARK_WIDTH = 5;

const SUBJECT_WIDTH = 15;

export function createReport({ terminal }: CommandContext): Report {
  const indent = MARK_WIDTH + SUBJECT_WIDTH;
  const failures: { readonly code: FailureCode; readonly text: string }[] = [];
  const add = (mark: Mark, subject: string, text: string): void => {
    const value = wrap(text, indent, columnsOf(terminal.stdout));
    terminal.stdout.write(`${mark.padEnd(MARK_WIDTH)}${subject.padEnd(SUBJECT_WIDTH)}${value}\n`);
  };
  return {
    add,
    fail(subject, setting, error) {
      const message = messageOf(error);
      const text = message.includes(setting) ? message : `${message} (see ${setting})`;
      failures.push({ code: error instanceof Failure ? error.code : "failed", text });
      add("FAIL", subject, text);
    },
    end() {
      const [first, ...more] = failures;
      if (first === undefined) return;
      const rest = more.length === 0 ? "" : ` (and ${more.length} more)`;
      throw new Failure(first.code, `${first.text}${rest}`);
    },
  };
}

export type Mark = "ok" | "warn" | "FAIL";
