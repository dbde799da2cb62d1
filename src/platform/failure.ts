/**
 * Failures as they are thrown: one class, one line of text for people, one stable code for programs. Any other
 * error that reaches the command line is a defect of hublink and is shown as one.
 */
import { type FailureCode, type FailureKind, FAILURES } from "./failures.ts";
import { oneLine } from "./text.ts";

/**
 * An expected failure. The message is one line that names the thing at fault and the remedy. It is shown to
 * people unchanged, so it never holds a secret or a signed URL. A subclass is only for a caller that needs more
 * than the code.
 */
export class Failure extends Error {
  readonly code: FailureCode;

  constructor(code: FailureCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "Failure";
    this.code = code;
  }

  /** The family of the code, which decides the exit code. */
  get kind(): FailureKind {
    return FAILURES[this.code].kind;
  }
}

/** Whether `error` is a failure with one of these codes. */
export function failedWith(error: unknown, ...codes: readonly FailureCode[]): error is Failure {
  return error instanceof Failure && codes.includes(error.code);
}

/** The text of a thrown value, in one line. */
export function messageOf(error: unknown): string {
  return oneLine(error instanceof Error ? error.message : String(error));
}

/** The `code` of a system error (`ENOENT`, `ECONNRESET`, …), if it has one. */
export function systemCode(error: unknown): string | undefined {
  if (error instanceof Failure) return undefined; // its code is ours
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return undefined;
}

/**
 * Turns a file system error into a Failure that names the path.
 * @param what the file's role, such as `certificate`
 */
export function fileFailure(what: string, path: string, error: unknown): Failure {
  const options = { cause: error };
  switch (systemCode(error)) {
    case "ENOENT":
    case "ENOTDIR":
      return new Failure("no_input", `${what} ${path} does not exist`, options);
    case "EISDIR":
      return new Failure("no_input", `${what} ${path} is a directory, not a file`, options);
    case "EACCES":
    case "EPERM":
      return new Failure(
        "permission",
        `${what} ${path}: permission denied; run as its owner or root`,
        options,
      );
    default:
      return new Failure("io", `${what} ${path}: ${messageOf(error)}`, options);
  }
}
