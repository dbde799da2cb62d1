import { parseArgs } from "node:util";
import { Failure, messageOf } from "../platform/failure.ts";

/** What every command gets. */
export interface Invocation {
  readonly command: CommandName;
  /** What follows the command, as many as it takes. */
  readonly operands: readonly string[];
  /** Undefined: the default file. */
  readonly config: string | undefined;
  readonly json: boolean;
  readonly csr: boolean;
  readonly generate: boolean;
  readonly connect: boolean;
  readonly verbose: boolean;
}

const OPTIONS = ["json", "csr", "generate", "connect"] as const;
type Option = (typeof OPTIONS)[number];

/** What each command takes after its name. */
const COMMANDS = {
  run: { operands: [], options: [] },
  check: { operands: [], options: ["connect"] },
  status: { operands: [], options: ["json"] },
  apply: { operands: ["SOURCE"], options: [] },
  validate: { operands: [], options: [] },
  revert: { operands: [], options: [] },
  reboot: { operands: [], options: [] },
  metadata: { operands: ["FILE"], options: [] },
  identity: { operands: [], options: ["csr", "generate"] },
  upload: { operands: ["FILE"], options: [] },
} as const satisfies Record<string, { operands: readonly string[]; options: readonly Option[] }>;

export type CommandName = keyof typeof COMMANDS;

export const USAGE = `hublink: firmware agent for NervesHub and fwup

Usage: hublink COMMAND [--config FILE] [--verbose]

  run              the daemon, in the foreground
  check [--connect]
                   say what is wrong with configuration, key, fwup or slots;
                   with --connect also whether the hub takes this board
  status [--json]  ask the running daemon
  apply SOURCE     install a .fw from a file, a URL or - (standard input)
  validate         mark the running slot good
  revert           make the other slot the one to boot
  reboot           reboot the board by the configured way
  metadata FILE    print a .fw's metadata
  identity [--generate] [--csr]
                   print identifier, key source, certificate and fingerprints;
                   make the device's key; print a request for its certificate
  upload FILE      send a file to the hub's console

  --config FILE    default /etc/hublink/config.toml
  --verbose        more log; the stack trace of an error
  --version, --help
`;

/** Asked for with --version or --help instead of a command. */
export type Request = Invocation | { readonly command: "version" } | { readonly command: "help" };

/**
 * Reads the command line.
 * @throws Failure `usage`
 */
export function parseCommandLine(argv: readonly string[]): Request {
  const { values, positionals } = parse(argv);
  if (values.help === true || positionals[0] === "help") return { command: "help" };
  if (values.version === true) return { command: "version" };
  const [name, ...operands] = positionals;
  if (name === undefined) throw usage("name a command");
  if (!isCommand(name)) {
    throw usage(`there is no command ${name}`);
  }
  const command = COMMANDS[name];
  if (operands.length !== command.operands.length) {
    throw usage(
      `${name} takes ${command.operands.length === 0 ? "nothing" : command.operands.join(" ")} after it`,
    );
  }
  const accepted: readonly string[] = command.options;
  for (const option of OPTIONS) {
    if (values[option] === true && !accepted.includes(option)) throw usage(`${name} has no --${option}`);
  }
  return {
    command: name,
    operands,
    config: values.config,
    json: values.json === true,
    csr: values.csr === true,
    generate: values.generate === true,
    connect: values.connect === true,
    verbose: values.verbose === true,
  };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        config: { type: "string" },
        json: { type: "boolean" },
        csr: { type: "boolean" },
        generate: { type: "boolean" },
        connect: { type: "boolean" },
        verbose: { type: "boolean" },
        version: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw usage((messageOf(error).split(". ")[0] ?? "").replace(/\.$/, ""));
  }
}

function isCommand(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name);
}

function usage(problem: string): Failure {
  return new Failure("usage", `${problem} (see hublink --help)`);
}
