/**
 * What kind of thing went wrong, in sysexits terms; `cli/exit-codes.ts` maps it to a number.
 *
 * - `usage`: the command line
 * - `no-input`: a file the user named is missing or unreadable as such
 * - `unavailable`: a daemon, server or tool that is needed is not there
 * - `io`: a disk or device refused
 * - `permission`: the operating system refused
 * - `config`: the configuration
 * - `other`: anything else
 */
export type FailureKind = "usage" | "no-input" | "unavailable" | "io" | "permission" | "config" | "other";

/**
 * An expected failure. The message is one line that names the thing at fault and the way out; it is
 * shown to people as it stands, so it never holds a secret or a signed URL.
 */
export class Failure extends Error {
  readonly kind: FailureKind;

  constructor(kind: FailureKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "Failure";
    this.kind = kind;
  }
}

/** The text of anything that was thrown, one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*\n\s*/g, "; ").trim();
}

/** The `code` of a system error (`ENOENT`, `ECONNRESET`, …), if it has one. */
export function systemCode(error: unknown): string | undefined {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return undefined;
}

/**
 * Turns a file system error into a Failure that names the path.
 * @param what what the file is to the user, such as `certificate`
 */
export function fileFailure(what: string, path: string, error: unknown): Failure {
  const options = { cause: error };
  switch (systemCode(error)) {
    case "ENOENT":
    case "ENOTDIR":
      return new Failure("no-input", `${what} ${path} does not exist`, options);
    case "EISDIR":
      return new Failure("no-input", `${what} ${path} is a directory, not a file`, options);
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
