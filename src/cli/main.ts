/**
 * Runs one command line and gives its exit code. Each error ends here as one line on stderr; an error that is not a
 * Failure is a defect of hublink, and the line says so.
 */
import { ConfigFailure } from "../config/check.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { EXIT_CODES } from "../platform/failures.ts";
import { redact } from "../platform/log.ts";
import { printable } from "../platform/text.ts";
import { systemWorld } from "../platform/world.ts";
import { VERSION } from "../version.ts";
import { parseCommandLine } from "./command-line.ts";
import { columnsOf, type Terminal, wrap } from "./terminal.ts";

/** Some init systems start programs with umask 0, and everybody could put files into the folders that are made. */
const WRITABLE_BY_OTHERS = 0o022;

/** Runs the command line. @returns the exit code */
export async function main(
  argv: readonly string[],
  terminal: Terminal,
  env: NodeJS.ProcessEnv,
): Promise<number> {
  const verbose = argv.includes("--verbose");
  process.umask(process.umask(WRITABLE_BY_OTHERS) | WRITABLE_BY_OTHERS);
  // The reader may go away, as in `| head`. The work goes on without one.
  for (const stream of [terminal.stdout, terminal.stderr]) stream.on("error", () => undefined);
  try {
    const request = parseCommandLine(argv);
    if (request === "version") terminal.stdout.write(`hublink ${VERSION}\n`);
    else if ("help" in request) terminal.stdout.write(request.help);
    else await request.run({ terminal, env, config: request.config, verbose, world: systemWorld });
    return 0;
  } catch (error) {
    report(error, terminal, verbose);
    return exitCodeOf(error);
  }
}

/** Prints one line; a configuration with several mistakes gets a line for each. */
function report(error: unknown, { stderr }: Terminal, verbose: boolean): void {
  const write = (prefix: string, text: string): void => {
    stderr.write(`${prefix}${wrap(redact(text), prefix.length, columnsOf(stderr))}\n`);
  };
  if (error instanceof ConfigFailure && error.problems.length > 1) {
    write("hublink: ", `${error.source}: ${error.problems.length} mistakes`);
    for (const problem of error.problems) write("  ", problem);
  } else {
    const defect = error instanceof Failure || verbose ? "" : " (a defect of hublink; --verbose shows where)";
    write("hublink: ", `${messageOf(error)}${defect}`);
  }
  if (!verbose) return;
  if (error instanceof Failure) write("  ", `code ${error.code}, see docs/errors.md`);
  for (let at = error; at instanceof Error; at = at.cause) {
    const lines = redact(at.stack ?? "").split("\n");
    stderr.write(`${lines.map(printable).join("\n")}\n`);
  }
}

function exitCodeOf(error: unknown): number {
  return error instanceof Failure ? EXIT_CODES[error.kind] : 1;
}
