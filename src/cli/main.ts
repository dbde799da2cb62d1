import { ConfigFailure } from "../config/check.ts";
import { Failure, messageOf } from "../platform/failure.ts";
import { EXIT_CODES } from "../platform/failures.ts";
import { redact } from "../platform/log.ts";
import { VERSION } from "../version.ts";
import { type Invocation, parseCommandLine, USAGE } from "./command-line.ts";
import { columnsOf, type CommandContext, type Terminal, wrap } from "./terminal.ts";

/** Runs the command line; returns the exit code. */
export async function main(
  argv: readonly string[],
  terminal: Terminal,
  env: NodeJS.ProcessEnv,
): Promise<number> {
  const verbose = argv.includes("--verbose");
  // Whoever reads may go away, as in `| head`: nobody is left to tell, and the work goes on.
  for (const stream of [terminal.stdout, terminal.stderr]) stream.on("error", () => undefined);
  try {
    const request = parseCommandLine(argv);
    if (request.command === "help") terminal.stdout.write(USAGE);
    else if (request.command === "version") terminal.stdout.write(`hublink ${VERSION}\n`);
    else await perform(request, { terminal, env, config: request.config, verbose });
    return 0;
  } catch (error) {
    report(error, terminal, verbose);
    return exitCodeOf(error);
  }
}

/** Commands are loaded when they are called: the daemon's memory should hold no other's code. */
async function perform(request: Invocation, context: CommandContext): Promise<void> {
  const [operand = ""] = request.operands;
  switch (request.command) {
    case "run":
      return (await import("./run.ts")).run(context);
    case "check":
      return (await import("./check.ts")).check(context, request.connect);
    case "status":
      return (await import("./status.ts")).status(context, request.json);
    case "apply":
      return (await import("./apply.ts")).apply(context, operand);
    case "validate":
      return (await import("./slots.ts")).validate(context);
    case "revert":
      return (await import("./slots.ts")).revert(context);
    case "reboot":
      return (await import("./slots.ts")).reboot(context);
    case "metadata":
      return (await import("./metadata.ts")).metadata(context, operand);
    case "identity":
      return (await import("./identity.ts")).identity(context, request);
    case "upload":
      return (await import("./upload.ts")).upload(context, operand);
  }
}

/** One line that says it all; a configuration with more than one mistake has a line for each. */
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
  for (let at = error; at instanceof Error; at = at.cause) stderr.write(`${redact(at.stack ?? "")}\n`);
}

function exitCodeOf(error: unknown): number {
  return error instanceof Failure ? EXIT_CODES[error.kind] : 1;
}
