// The man page hublink(1), in roff with the macros of man(7), from the table of commands. Only what a user looks up
// at a prompt: the documents in docs have the rest.
import { COMMANDS, type Command } from "../../src/cli/commands.ts";
import { exitCodesOf, optionsOf, synopsisOf } from "../../src/cli/help.ts";
import { VERSION } from "../../src/version.ts";

const DESCRIPTION = [
  "connects an ARM Linux board to NervesHub, a server for firmware updates, and installs signed firmware with fwup(1) into the slot that is not running. It reboots the board into the new firmware, and marks that as good once it has proven itself; if it does not, the boot loader goes back to the old one.",
  "Without a command, hublink --help lists all commands. After a command, --help prints its part of this page.",
];

const ENVIRONMENT: readonly (readonly [name: string, about: string])[] = [
  [
    "HUBLINK_SECTION__KEY",
    "Overrides one key of the configuration: HUBLINK_HUB__URL is url in the section [hub].",
  ],
  [
    "HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
    "The proxy to the hub and for downloads, unless hub.proxy names one.",
  ],
];

const FILES: readonly (readonly [name: string, about: string])[] = [
  ["/etc/hublink/config.toml", "The configuration. hublink check lists all mistakes in it at once."],
  ["/data/hublink", "Journal, cache and other state (state.dir)."],
  ["/run/hublink.sock", "The control socket of the daemon (state.control_socket)."],
];

/** The page; `man -l` shows it. */
export function manPage(): string {
  return [
    '.\\" Written by scripts/docs.ts from src/cli/commands.ts; "npm run docs" renews it.',
    `.TH HUBLINK 1 "" "hublink ${VERSION}" "User Commands"`,
    ".SH NAME",
    "hublink \\- firmware agent for NervesHub and fwup",
    ".SH SYNOPSIS",
    ...[...COMMANDS].flatMap(([name, command]) => [...synopsis(name, command), ".br"]).slice(0, -1),
    ".SH DESCRIPTION",
    ...DESCRIPTION.flatMap((text, index) =>
      index === 0 ? [".B hublink", ...paragraph(text).slice(1)] : paragraph(text),
    ),
    ".SH COMMANDS",
    ...[...COMMANDS].flatMap(([name, command]) => commandSection(name, command)),
    ".SH ENVIRONMENT",
    ...ENVIRONMENT.flatMap(([name, about]) => item(name, about)),
    ".SH FILES",
    ...FILES.flatMap(([name, about]) => item(name, about)),
    ".SH SEE ALSO",
    ".BR fwup (1)",
    "",
  ].join("\n");
}

function synopsis(name: string, command: Command): string[] {
  return [`.B hublink ${escaped(synopsisOf(name, command))}`];
}

function commandSection(name: string, command: Command): string[] {
  return [
    `.SS hublink ${escaped(name)}${command.operand === undefined ? "" : ` ${command.operand}`}`,
    ...command.details.flatMap(paragraph),
    ...optionsOf(command).flatMap(([option, about]) => item(option, about)),
    ".PP",
    "Exit codes:",
    ...exitCodesOf(command).flatMap(([code, why]) => item(String(code), why)),
  ];
}

function paragraph(text: string): string[] {
  return [".PP", escaped(text)];
}

function item(name: string, about: string): string[] {
  return [".TP", `.B ${escaped(name)}`, escaped(about)];
}

/** Text that roff prints as it is. A line that began with a dot or an apostrophe would be a request. */
function escaped(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("'", "\\(aq").replace(/^\./, "\\&.");
}
