/** Reads meta.conf, the program of a firmware archive. */
import { FwupError } from "./fwup-error.ts";

/** A part of a meta.conf, such as the whole of it or a task: settings and sections, in their order. */
export interface Section {
  readonly kind: string;
  /** Empty for sections without one. */
  readonly title: string;
  readonly settings: ReadonlyMap<string, Setting>;
  readonly sections: readonly Section[];
}

interface Setting {
  readonly values: readonly string[];
  /** Its line in the file, from 1. */
  readonly line: number;
}

/**
 * Reads a meta.conf, which is text in libconfuse's form: `key = value`, `key = {a, b}` and
 * `kind "title" { … }`. `${NAME}` is replaced as it is read, by nothing when `variables` does not have it.
 * @throws FwupError with fwup's words, which are the same for all errors
 */
export function parseMetaConf(
  text: string,
  variables: Readonly<Record<string, string | undefined>>,
): Section {
  const tokens = tokenize(text, variables);
  const root = readSection(tokens, "", "");
  if (tokens.length > 0) throw unreadable();
  return root;
}

/** The sections of one kind. */
export function sectionsOf(section: Section, kind: string): Section[] {
  return section.sections.filter((each) => each.kind === kind);
}

/** The section of a kind and title, if there is one. */
export function findSection(section: Section, kind: string, title: string): Section | undefined {
  return section.sections.find((each) => each.kind === kind && each.title === title);
}

/** A setting's only or first value. */
export function textSetting(section: Section, key: string): string | undefined {
  return section.settings.get(key)?.values[0];
}

/**
 * A setting that is a whole number, decimal or 0x….
 * @throws FwupError when it is something else
 */
export function numberSetting(section: Section, key: string): number | undefined {
  const text = textSetting(section, key);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw unreadable();
  return value;
}

function unreadable(): FwupError {
  return new FwupError("Unexpected error parsing meta.conf");
}

interface Token {
  /** A quoted text is never punctuation. */
  readonly kind: "text" | "punctuation";
  readonly text: string;
  readonly line: number;
}

const TOKEN =
  /(?<blank>\s+|#.*|\/\/.*|\/\*[^]*?\*\/)|(?<punctuation>[{}=,])|"(?<double>(?:[^"\\]|\\[^])*)"|'(?<single>(?:[^'\\]|\\[^])*)'|(?<bare>(?:\$\{[^}]*\}|[^\s{}()=+,"'#])+)/y;

function tokenize(text: string, variables: Readonly<Record<string, string | undefined>>): Token[] {
  const tokens: Token[] = [];
  const expand = (from: string): string =>
    from.replace(
      /\$\{([^}:]*)(?::-([^}]*))?\}/g,
      (_, name: string, otherwise = "") => variables[name] ?? String(otherwise),
    );
  let line = 1;
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const match = TOKEN.exec(text);
    if (match === null) throw unreadable();
    const { blank, punctuation, double, single, bare } = match.groups ?? {};
    line += match[0].split("\n").length - 1;
    if (blank !== undefined) continue;
    if (punctuation !== undefined) tokens.push({ kind: "punctuation", text: punctuation, line });
    else if (double !== undefined) tokens.push({ kind: "text", text: unescape(double, expand), line });
    else if (single !== undefined)
      tokens.push({ kind: "text", text: single.replace(/\\([\\'])/g, "$1"), line });
    else tokens.push({ kind: "text", text: expand(bare ?? ""), line });
  }
  return tokens;
}

const ESCAPES: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  b: "\b",
  f: "\f",
  v: "\v",
  a: "\x07",
  e: "\x1b",
  "\n": "",
};

/** Undoes the escapes; `\${NAME}` keeps its dollar and is not expanded. */
function unescape(quoted: string, expand: (text: string) => string): string {
  return quoted.replace(/\\([^])|\$\{[^}]*\}/g, (all, escaped: string | undefined) =>
    escaped === undefined ? expand(all) : (ESCAPES[escaped] ?? escaped),
  );
}

function readSection(tokens: Token[], kind: string, title: string): Section {
  const settings = new Map<string, Setting>();
  const sections: Section[] = [];
  while (nextIsText(tokens)) {
    const key = takeText(tokens);
    if (takeIf(tokens, "=")) settings.set(key.text, { values: readValues(tokens), line: key.line });
    else {
      const sectionTitle = nextIsText(tokens) ? takeText(tokens).text : "";
      if (!takeIf(tokens, "{")) throw unreadable();
      sections.push(readSection(tokens, key.text, sectionTitle));
      if (!takeIf(tokens, "}")) throw unreadable();
    }
  }
  return { kind, title, settings, sections };
}

function readValues(tokens: Token[]): string[] {
  if (!takeIf(tokens, "{")) return [takeText(tokens).text];
  const values: string[] = [];
  while (!takeIf(tokens, "}")) {
    values.push(takeText(tokens).text);
    if (!takeIf(tokens, ",") && tokens[0]?.text !== "}") throw unreadable();
  }
  return values;
}

function nextIsText(tokens: readonly Token[]): boolean {
  return tokens[0]?.kind === "text";
}

function takeText(tokens: Token[]): Token {
  const token = tokens.shift();
  if (token?.kind !== "text") throw unreadable();
  return token;
}

function takeIf(tokens: Token[], punctuation: string): boolean {
  const [token] = tokens;
  if (token?.kind !== "punctuation" || token.text !== punctuation) return false;
  tokens.shift();
  return true;
}
