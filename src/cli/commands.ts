/**
 * The table of commands. Each stands here once: what --help and the man page say of it, which options it takes, with
 * which codes it ends, and its code. That is loaded when the command is called, because the daemon would otherwise
 * keep the code of all others in memory.
 */
import type { FailureKind } from "../platform/failures.ts";
import type { Arguments, CommandContext } from "./terminal.ts";

type Run<Option extends string> = (context: CommandContext, args: Arguments<Option>) => Promise<void>;

/** Why a command ends with an exit code; `done` is 0. */
export type Ending = FailureKind | "done";

export interface Command<Option extends string = string> {
  /** The word that follows the command, in capitals. */
  readonly operand?: string;
  /** What each option does that it has besides those of all commands; the names are without the dashes. */
  readonly options?: Readonly<Record<Option, string>>;
  /** The options that take a word, and how that is called, in capitals. */
  readonly values?: Readonly<Partial<Record<Option, string>>>;
  /** The text of `hublink --help`, one item for each line. */
  readonly about: readonly string[];
  /** Paragraphs of its own help and of the man page. */
  readonly details: readonly string[];
  /** Its own words for endings, in place of {@link ENDINGS}; others than those are its alone. */
  readonly endings?: Readonly<Partial<Record<Ending, string>>>;
  readonly load: () => Promise<Run<NoInfer<Option>>>;
}

/** How every command can end. */
export const ENDINGS: Readonly<Partial<Record<Ending, string>>> = {
  done: "done",
  usage: "the command line can't be understood",
  "no-input": "the file named with --config does not exist",
  permission: "the operating system refused",
  config: "the configuration can't be used",
  other: "anything else",
};

const NO_DAEMON = "no daemon answers on the control socket";
const AT_WORK = "another hublink is at work, or the slots are not known";
const DISK = "the disk refused";

/** All commands, in the order of --help. */
export const COMMANDS: ReadonlyMap<string, Command> = new Map(
  Object.entries({
    run: command({
      about: ["the daemon, in the foreground"],
      details: [
        "Connects the board to its hub and stays connected: installs firmware that the hub offers, proves new firmware good or lets the board fall back, and answers the other commands. An init system starts it.",
        "SIGTERM and SIGINT end it within 10 s. SIGHUP has it read the configuration again; one that can't be used is refused, and the old one stays.",
      ],
      endings: {
        done: "stopped by a signal",
        "no-input": "a key, a certificate or the file named with --config does not exist",
        unavailable: "another hublink is at work on this board",
        config: "the configuration or the identity can't be used",
      },
      load: async () => (await import("./run.ts")).run,
    }),
    check: command({
      options: {
        connect: "also ask the hub whether it takes this board; nothing else is sent",
        json: "all findings as one JSON value, for programs",
      },
      about: [
        "say what is wrong with configuration, key, fwup or slots;",
        "with --connect also whether the hub takes this board",
      ],
      details: [
        "Reads everything that the daemon needs, and prints a line for each thing: ok, warn or FAIL. It changes nothing, and no command of the configuration is run.",
        "The first thing that is wrong decides the exit code.",
      ],
      endings: {
        done: "nothing is wrong; there may be warnings",
        "no-input": "a file is missing, such as the certificate",
        unavailable: "a program or server is missing, such as fwup",
        io: DISK,
        config: "the configuration, the identity or a device that it names can't be used",
      },
      load: async () => (await import("./check.ts")).check,
    }),
    status: command({
      options: { json: "all that is known, for programs" },
      about: ["ask the running daemon"],
      details: [
        "Prints what the running daemon is doing: connection, identity, slots, update, watchdogs, the last error.",
      ],
      endings: { unavailable: NO_DAEMON },
      load: async () => (await import("./status.ts")).status,
    }),
    apply: command({
      operand: "SOURCE",
      options: { force: "install it although it is for another product, platform or architecture" },
      about: [
        "install a .fw from a file, a URL or - (standard input);",
        "with --force also one for another product or board",
      ],
      details: [
        "Installs firmware into the slot that is not running, as an update from the hub would be. The daemon does it if one runs. The running slot stays as it is, whatever happens; hublink reboot starts the new firmware.",
        "Without a public key (firmware.public_keys, or the hub's) nothing is installed.",
      ],
      endings: {
        "no-input": "there is no such file",
        unavailable: "an update or another hublink is at work, or the slots are not known",
        io: DISK,
        config: "the configuration can't be used, or there is no public key",
        other: "the file is not firmware, it was refused, or the update failed",
      },
      load: async () => (await import("./apply.ts")).apply,
    }),
    update: command({
      options: {
        check: "only say what the hub would send",
        mode: "who starts updates from now on: automatic (the hub) or device-managed (the board)",
      },
      values: { mode: "MODE" },
      about: ["have the hub send its update for this board now;", "with --check only say what it would send"],
      details: [
        "Asks the hub, through the running daemon, for the update that its deployment has for this board, and shows how it is installed. The hub may be busy with others: then the daemon asks again by itself when the hub says so.",
        "In the mode device-managed the hub sends no update by itself, and the board chooses the moment: by this command, by update.window, or by an application on the control socket. The hub's operators have to allow it. In both modes an operator can push an update.",
      ],
      endings: {
        done: "installed, or asked for later; with --check or --mode: done",
        unavailable: `${NO_DAEMON}, or the hub gives no answer: it is not connected, or older than device API 2.4.0`,
        permission: "the hub does not let this board choose the mode",
        config: "the configuration can't be used, or there is no public key",
        other: "the hub refused, or the update was refused or failed",
      },
      load: async () => (await import("./update.ts")).update,
    }),
    validate: command({
      about: ["mark the running slot good"],
      details: ["Ends the trial of new firmware: the board does not fall back from it any more."],
      endings: { unavailable: AT_WORK, io: DISK },
      load: async () => (await import("./slots.ts")).validate,
    }),
    revert: command({
      about: ["make the other slot the one to boot"],
      details: ["Goes back to the firmware in the other slot at the next reboot."],
      endings: { unavailable: "the other slot holds no firmware, or another hublink is at work", io: DISK },
      load: async () => (await import("./slots.ts")).revert,
    }),
    reboot: command({
      about: ["reboot the board by the configured way"],
      details: [
        "Has the running daemon report the reboot to the hub and carry it out. An update that goes on is finished first.",
      ],
      endings: { unavailable: NO_DAEMON },
      load: async () => (await import("./slots.ts")).reboot,
    }),
    metadata: command({
      operand: "FILE",
      options: { json: "one JSON value, for programs" },
      about: ["print a .fw's metadata"],
      details: ["Prints what a firmware file says about itself. It needs no configuration, but fwup."],
      endings: {
        "no-input": "there is no such file",
        unavailable: "fwup is missing",
        other: "the file is not firmware, or fwup can't read it",
      },
      load: async () => (await import("./metadata.ts")).metadata,
    }),
    identity: command({
      options: {
        generate: "make the device's key where the configuration says; one that exists is never replaced",
        csr: "print a request for the device's certificate, signed with its own key",
        json: "who the board is as one JSON value, for programs",
      },
      about: [
        "print identifier, key source, certificate and fingerprints;",
        "make the device's key; print a request for its certificate",
      ],
      details: [
        "Prints who this board is for the hub, and which certificate shows it. Of a board without a certificate it prints the identifier, and ends with 66.",
      ],
      endings: {
        "no-input": "the key, the certificate or the file named with --config does not exist",
        unavailable: "a program is missing that the key needs",
        config: "the configuration or the identity can't be used, or there is a key already",
      },
      load: async () => (await import("./identity.ts")).identity,
    }),
    upload: command({
      operand: "FILE",
      about: ["send a file to the hub's console"],
      details: ["Sends a file, through the running daemon, to the people who have the hub's console open."],
      endings: {
        "no-input": "there is no such file",
        unavailable: `${NO_DAEMON}, or the board has not joined the hub's console`,
        permission: "not everybody who may use the control socket may read the file",
        config: "the configuration can't be used, or the console is not enabled",
      },
      load: async () => (await import("./upload.ts")).upload,
    }),
  }),
);

/** The options of all commands, as --help and the man page show them. */
export const COMMON_OPTIONS: readonly (readonly [option: string, about: string])[] = [
  ["--config FILE", "default /etc/hublink/config.toml"],
  ["--verbose", "more log; the stack trace of an error"],
];

/** Lets the compiler see that a command's code asks for no option but its own. */
function command<const Option extends string = never>(command: Command<Option>): Command {
  return command;
}
