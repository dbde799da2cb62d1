/** Prints the findings of `hublink check`; the first failure decides the exit code. */
import { Failure, messageOf } from "../platform/failure.ts";
import type { FailureCode } from "../platform/failures.ts";
import { columnsOf, type CommandContext, type Output, wrap } from "./terminal.ts";

type Mark = "ok" | "warn" | "FAIL";

const MARK_WIDTH = 5;
const SUBJECT_WIDTH = 15;

/** Prints findings as they come, and remembers the failures. */
export class CheckReport {
  readonly #stdout: Output;
  readonly #failures: { readonly code: FailureCode; readonly text: string }[] = [];

  constructor({ terminal }: CommandContext) {
    this.#stdout = terminal.stdout;
  }

  add(mark: Mark, subject: string, text: string): void {
    const value = wrap(text, MARK_WIDTH + SUBJECT_WIDTH, columnsOf(this.#stdout));
    this.#stdout.write(`${mark.padEnd(MARK_WIDTH)}${subject.padEnd(SUBJECT_WIDTH)}${value}\n`);
  }

  /** @param setting where in the configuration it may be put right */
  fail(subject: string, setting: string, error: unknown): void {
    const message = messageOf(error);
    const text = message.includes(setting) ? message : `${message} (see ${setting})`;
    this.#failures.push({ code: error instanceof Failure ? error.code : "failed", text });
    this.add("FAIL", subject, text);
  }

  /** @throws Failure with the code and text of the first failure, if there is one */
  end(): void {
    const [first, ...more] = this.#failures;
    if (first === undefined) return;
    const rest = more.length === 0 ? "" : ` (and ${more.length} more)`;
    throw new Failure(first.code, `${first.text}${rest}`);
  }
}
