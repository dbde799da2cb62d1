/**
 * The findings of `hublink check`: printed as they come, or at the end as JSON. The first failure decides the exit
 * code. Texts are redacted here, since command lines and addresses of the configuration may hold secrets.
 */
import { ConfigFailure } from "../config/check.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import type { FailureCode } from "../platform/failures.ts";
import { redact } from "../platform/log.ts";
import { printableJson } from "../platform/text.ts";
import { columnsOf, type CommandContext, type Output, wrap } from "./terminal.ts";

type Mark = "ok" | "warn" | "fail";

/** How `hublink check` shows a mark to people. */
const MARKS: Readonly<Record<Mark, string>> = { ok: "ok", warn: "warn", fail: "FAIL" };

/** One finding, with the names that it has in `hublink check --json`. */
interface Finding {
  readonly mark: Mark;
  readonly subject: string;
  readonly text: string;
  /** The setting by which it may be put right. */
  readonly setting: string | null;
  /** The code of a failure, as docs/errors.md lists them. */
  readonly failure: FailureCode | null;
}

const MARK_WIDTH = 5;
const SUBJECT_WIDTH = 15;

/** Prints findings as they come, or keeps them for {@link CheckReport.end}. */
export class CheckReport {
  readonly #stdout: Output;
  readonly #json: boolean;
  readonly #findings: Finding[] = [];

  /** @param json one JSON value in place of lines for people */
  constructor({ terminal }: CommandContext, json: boolean) {
    this.#stdout = terminal.stdout;
    this.#json = json;
  }

  /** @param pieces one text; in pieces if it is too wide for a terminal and has no blanks */
  add(mark: Exclude<Mark, "fail">, subject: string, ...pieces: readonly string[]): void {
    this.#note({ mark, subject, text: pieces.join(""), setting: null, failure: null }, pieces);
  }

  /** @param setting where in the configuration it may be put right */
  fail(subject: string, setting: string, error: unknown): void {
    const message = messageOf(error);
    const text = message.includes(setting) ? message : `${message} (see ${setting})`;
    const failure = error instanceof Failure ? error.code : "failed";
    this.#note({ mark: "fail", subject, text, setting, failure }, [text]);
  }

  /** Notes a configuration that can't be used. Its error is all that is printed for people. */
  unusable(error: Failure): void {
    const problems = error instanceof ConfigFailure ? error.problems : [error.message];
    for (const problem of problems) {
      this.#findings.push({
        mark: "fail",
        subject: "configuration",
        text: redact(problem),
        setting: null,
        failure: error.code,
      });
    }
    this.#writeJson();
  }

  /** @throws Failure with the code and text of the first failure, if there is one */
  end(): void {
    this.#writeJson();
    const [first, ...more] = this.#findings.filter(({ mark }) => mark === "fail");
    if (first === undefined) return;
    const rest = more.length === 0 ? "" : ` (and ${more.length} more)`;
    throw new Failure(first.failure ?? "failed", `${first.text}${rest}`);
  }

  #note(finding: Finding, pieces: readonly string[]): void {
    this.#findings.push({ ...finding, text: redact(finding.text) });
    if (this.#json) return;
    for (const [index, piece] of pieces.entries()) {
      const subject = index === 0 ? finding.subject : "";
      const value = wrap(redact(piece), MARK_WIDTH + SUBJECT_WIDTH, columnsOf(this.#stdout));
      this.#stdout.write(
        `${MARKS[finding.mark].padEnd(MARK_WIDTH)}${subject.padEnd(SUBJECT_WIDTH)}${value}\n`,
      );
    }
  }

  #writeJson(): void {
    if (!this.#json) return;
    const ok = this.#findings.every(({ mark }) => mark !== "fail");
    this.#stdout.write(`${printableJson({ ok, findings: this.#findings }, 2)}\n`);
  }
}
