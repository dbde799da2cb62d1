// Writes docs/configuration.md and config.example.toml from the configuration's schema, docs/errors.md from the table
// of failures, docs/hublink.1 from the table of commands, and docs/figures.md from results; --check only compares.
import { readFile, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { schema } from "../src/config/schema.ts";
import { isSection, isTableList, type Section, type Setting } from "../src/config/setting.ts";
import { EXIT_CODES, FAILURES } from "../src/platform/failures.ts";
import { manPage } from "./docs/man-page.ts";
import { figures } from "./figures.ts";

const INTRODUCTION = `# Configuration

<!-- Written by scripts/docs.ts from src/config/schema.ts; \`npm run docs\` renews it. -->

hublink reads one TOML file: \`/etc/hublink/config.toml\`, or the one named with \`--config\`. Most boards need
only three settings:

    [hub]
    url = "wss://devices.example.com"

    [identity.file]
    cert_file = "/etc/hublink/device-cert.pem"
    key_file = "/etc/hublink/device-key.pem"

[config.example.toml](../config.example.toml) shows every key with its default. \`hublink check\` reads the
configuration and prints what follows from it. A running daemon reads it again on SIGHUP, and keeps the old one if
the new one is wrong.

## How it is checked

The agent lists all errors at once, and then exits with code 78. An unknown key is an error that names the nearest
known key. A value of the wrong type or out of its range is an error too. A file named with \`--config\` must exist;
the default file may be missing if the environment sets everything that is needed.

The names of the keys contain their units. Times are in seconds and may be fractions. Empty text means "not set".

## The environment

A variable overrides one key. Its name is \`HUBLINK_\`, then the section and the key in capitals, with two
underscores for each dot.

    HUBLINK_HUB__URL=wss://devices.example.com
    HUBLINK_HUB__RECONNECT__MIN_S=2
    HUBLINK_UPDATE__ALLOW_DOWNGRADE=false
    HUBLINK_FIRMWARE__FWUP_ARGS=--verbose,--no-verify-writes
    HUBLINK_FIRMWARE__FWUP_ENV='{"SLOT_SIZE":"81920"}'

Arrays are written with commas or as JSON, tables as JSON. A variable with two underscores that does not name a key is
an error. Other variables that start with \`HUBLINK_\` are ignored.

## Secrets

Secrets do not belong in the configuration. A private key, a passphrase, a PIN or a shared secret is in a file of its
own, which a key that ends in \`_file\` names. Only the owner of such a file may be able to read and write it
(\`chmod 600\`), otherwise it is refused. One newline at its end is not part of the secret.

Two values can contain a secret all the same: the password in \`hub.proxy\`, and the variables in
\`firmware.fwup_env\`. If you use them, make the configuration itself readable by its owner only. These values are
never shown, not even in an error.
`;

const EXAMPLE_HEADER = `# hublink's configuration, with every key. Install it as /etc/hublink/config.toml.
#
# Written by scripts/docs.ts from src/config/schema.ts. Keys that are commented out show their default;
# docs/configuration.md says more.
`;

const ERRORS_INTRODUCTION = `# Errors

<!-- Written by scripts/docs.ts from src/platform/failures.ts; \`npm run docs\` renews it. -->

A command that fails prints one line for people and ends with an exit code of sysexits.h. For programs there is a
code that stays the same when the words change: \`hublink status --json\` has it beside the reason of the last
update, and on the control socket it is \`failure\` in an error and in \`update_failed\`
([control-socket.md](control-socket.md)). New codes may come; one that is here keeps its meaning.

| Code | Exit code | What it means | What to do |
| --- | --- | --- | --- |
`;

function errors(): string {
  const rows = Object.entries(FAILURES).map(
    ([code, { kind, means, remedy }]) => `| \`${code}\` | ${EXIT_CODES[kind]} | ${means} | ${remedy} |\n`,
  );
  return ERRORS_INTRODUCTION + rows.join("");
}

/** A section or the tables of a list, with their dotted path. */
interface Place {
  readonly path: string;
  readonly section: Section;
  /** `[[PATH]]`, of which there may be several. */
  readonly repeats: boolean;
}

function places(section: Section, path: string): Place[] {
  return Object.entries(section.entries).flatMap(([key, entry]) => {
    if (!isSection(entry) && !isTableList(entry)) return [];
    const inner = path === "" ? key : `${path}.${key}`;
    const repeats = isTableList(entry);
    const content = repeats ? entry.item : entry;
    return [{ path: inner, section: content, repeats }, ...places(content, inner)];
  });
}

function settings(section: Section): [string, Setting][] {
  return Object.entries(section.entries).flatMap(([key, entry]) =>
    isSection(entry) || isTableList(entry) ? [] : [[key, entry]],
  );
}

function titleOf({ path, repeats }: Place): string {
  return repeats ? `[[${path}]]` : `[${path}]`;
}

/** Text, numbers, booleans and arrays of text are written in TOML as in JSON. */
function toml(value: unknown): string {
  return JSON.stringify(value);
}

function reference(): string {
  const parts = places(schema, "").map((place) => {
    const { path, section } = place;
    const rows = settings(section).map(([key, setting]) => {
      const initial = setting.needed === true ? "must be set" : `\`${toml(setting.initial)}\``;
      const cells = [`\`${key}\``, setting.kind.expected, initial, setting.about];
      return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
    });
    const heading = `${"#".repeat(path.split(".").length + 1)} ${titleOf(place)}\n\n${section.about}\n`;
    if (rows.length === 0) return heading;
    return `${heading}\n| Key | Value | Default | What it does |\n| --- | --- | --- | --- |\n${rows.join("\n")}\n`;
  });
  return [INTRODUCTION, ...parts].join("\n");
}

function example(): string {
  const parts = places(schema, "").map((place) => {
    const { section } = place;
    if (place.repeats) return `\n${comment(section.about)}${exampleTable(place)}`;
    const lines = settings(section).map(([key, setting]) => {
      const about = `${setting.about} Expects ${setting.kind.expected}.`;
      const line =
        setting.example === undefined
          ? `#${key} = ${toml(setting.initial)}`
          : `${key} = ${toml(setting.example)}`;
      return `\n${comment(about)}${line}\n`;
    });
    return `\n${comment(section.about)}${titleOf(place)}\n${lines.join("")}`;
  });
  return EXAMPLE_HEADER + parts.join("\n");
}

/** One table of a list, as comment lines: there is none by default. */
function exampleTable(place: Place): string {
  const lines = settings(place.section).map(
    ([key, setting]) => `# ${key} = ${toml(setting.example ?? setting.initial)}\n`,
  );
  return `# ${titleOf(place)}\n${lines.join("")}`;
}

/** The text as comment lines of at most 100 characters. */
function comment(text: string): string {
  return text.replace(/(.{1,98})(?:\s+|$)/g, "# $1\n");
}

const root = resolve(import.meta.dirname, "..");
const files = {
  "docs/configuration.md": reference(),
  "config.example.toml": example(),
  "docs/errors.md": errors(),
  "docs/hublink.1": manPage(),
  "docs/figures.md": figures(),
};
for (const [name, content] of Object.entries(files)) {
  const path = resolve(root, name);
  if (!process.argv.includes("--check")) {
    await writeFile(path, content);
  } else if ((await readFile(path, "utf8").catch(() => "")) !== content) {
    console.error(`${name} is stale; run: npm run docs`);
    process.exitCode = 1;
  }
}
