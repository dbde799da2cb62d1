/**
 * fwup.conf in, meta.conf out: as much of `fwup -c` as this repository's files need. Tests compare the result
 * with that of the real fwup where there is one.
 */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { quoteIfNeeded } from "../../test/fwup/firmware.ts";

/** A part of a fwup.conf: settings, calls and sections in their order, with variables replaced. */
export interface ConfSection {
  readonly kind: string;
  readonly title: string;
  readonly settings: Map<string, string>;
  /** Each call `name(argument, …)` as a list, the name first. */
  readonly calls: string[][];
  readonly sections: ConfSection[];
}

interface Token {
  /** A quoted text is always `text`. */
  readonly kind: "text" | "punctuation";
  readonly text: string;
}

const TOKEN =
  /(?<blank>\s+|#.*|\/\/.*|\/\*[^]*?\*\/)|(?<punctuation>[{}()=,])|"(?<quoted>(?:[^"\\]|\\[^])*)"|(?<bare>(?:\$\{[^}]*\}|[^\s{}()=,"'#])+)/y;

/**
 * Reads a fwup.conf and the files that it includes. It knows the part of the language that this repository uses.
 * @param environment for `${NAME}`, beside the file's own `define`s
 * @throws Error when it contains anything else, or a variable that is not set
 */
export async function readFwupConf(
  path: string,
  environment: Readonly<Record<string, string>>,
): Promise<ConfSection> {
  return new Reader(new Map(Object.entries(environment))).read(path);
}

class Reader {
  readonly #variables: Map<string, string>;
  #tokens: Token[] = [];

  constructor(variables: Map<string, string>) {
    this.#variables = variables;
  }

  async read(path: string): Promise<ConfSection> {
    this.#tokens = tokenize(await readFile(path, "utf8"), path);
    const root = await this.#section("", "", dirname(path));
    if (this.#tokens.length > 0) throw new Error(`${path}: a } too many`);
    return root;
  }

  async #section(kind: string, title: string, folder: string): Promise<ConfSection> {
    const section: ConfSection = { kind, title, settings: new Map(), calls: [], sections: [] };
    for (;;) {
      const [token] = this.#tokens;
      if (token?.kind !== "text") return section;
      const name = this.#text();
      if (this.#takes("=")) section.settings.set(name, this.#text());
      else if (this.#takes("(")) await this.#call([name, ...this.#arguments()], section, folder);
      else {
        const subtitle = this.#takes("{") ? undefined : this.#text();
        if (subtitle !== undefined) this.#need("{");
        section.sections.push(await this.#section(name, subtitle ?? "", folder));
        this.#need("}");
      }
    }
  }

  /** Carries out `include` and `define`, and keeps all other calls. */
  async #call(call: string[], section: ConfSection, folder: string): Promise<void> {
    const [name, first = "", second = ""] = call;
    if (name === "define") this.#variables.set(first, this.#variables.get(first) ?? second);
    else if (name === "include") {
      const included = await new Reader(this.#variables).read(join(folder, first));
      section.sections.push(...included.sections);
    } else section.calls.push(call);
  }

  #arguments(): string[] {
    const list: string[] = [];
    while (!this.#takes(")")) {
      list.push(this.#text());
      this.#takes(",");
    }
    return list;
  }

  #text(): string {
    const token = this.#tokens.shift();
    if (token?.kind !== "text") throw new Error(`a fwup.conf has ${token?.text ?? "its end"} for a text`);
    // `\${NAME}` stays: fwup replaces it when it applies the firmware.
    return token.text.replace(/\\(.)|\$\{([^}]*)\}/g, (_, escaped: string | undefined, name: string) => {
      if (escaped !== undefined) return escaped;
      const value = this.#variables.get(name);
      if (value === undefined) throw new Error(`a fwup.conf wants ${name}, which is not set`);
      return value;
    });
  }

  #takes(punctuation: string): boolean {
    const [token] = this.#tokens;
    if (token?.kind !== "punctuation" || token.text !== punctuation) return false;
    this.#tokens.shift();
    return true;
  }

  #need(punctuation: string): void {
    if (!this.#takes(punctuation)) throw new Error(`a fwup.conf lacks ${punctuation}`);
  }
}

function tokenize(text: string, path: string): Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const groups = TOKEN.exec(text)?.groups;
    if (groups === undefined) throw new Error(`${path}: not understood: ${text.slice(at, at + 40)}`);
    const { punctuation, quoted, bare } = groups;
    if (punctuation !== undefined) tokens.push({ kind: "punctuation", text: punctuation });
    else if (quoted !== undefined || bare !== undefined) {
      tokens.push({ kind: "text", text: quoted ?? bare ?? "" });
    }
  }
  return tokens;
}

/** The entry of meta.conf for a file in the archive. */
export interface Resource {
  readonly sizeBytes: number;
  /** BLAKE2b-256 in hexadecimal digits. */
  readonly blake2b: string;
}

/** The order in which fwup writes settings and sections. */
const META = ["product", "description", "version", "author", "platform", "architecture"];
const KINDS = ["file-resource", "mbr", "task", "uboot-environment"];
const EVENTS = ["on-init", "on-finish", "on-error", "on-resource"];

/**
 * The meta.conf that `fwup -c` makes from a fwup.conf, character by character.
 * @param resources by the title of the file-resource
 */
export function metaConf(conf: ConfSection, resources: ReadonlyMap<string, Resource>): string {
  const lines = [...META.map((name) => `meta-${name}`), "require-fwup-version"].flatMap((name) => {
    const value = conf.settings.get(name);
    return value === undefined ? [] : [`${name}=${quoteIfNeeded(value)}`];
  });
  for (const section of inOrder(conf.sections, KINDS)) {
    if (section.kind !== "file-resource") lines.push(...sectionLines(section));
    else {
      const resource = resources.get(section.title);
      if (resource === undefined) throw new Error(`no file for the resource ${section.title}`);
      const about = [`length=${resource.sizeBytes}`, `blake2b-256=${resource.blake2b}`];
      lines.push(`file-resource "${section.title}" {`, ...about, "}");
    }
  }
  return lines.map((line) => `${line}\n`).join("");
}

function sectionLines({ kind, title, settings, calls, sections }: ConfSection): string[] {
  const lists = [
    { name: "reqlist", list: calls.filter(([name = ""]) => name.startsWith("require-")) },
    { name: "funlist", list: calls.filter(([name = ""]) => !name.startsWith("require-")) },
  ];
  return [
    title === "" ? `${kind} {` : `${kind} "${title}" {`,
    ...[...settings].map(([name, value]) => `${name}=${plainNumber(value)}`),
    ...lists
      .filter(({ list }) => list.length > 0)
      .map(({ name, list }) => {
        const items = list.flatMap((call) => [String(call.length), ...call]);
        return `${name}={${items.map(quoteIfNeeded).join(",")}}`;
      }),
    ...inOrder(sections, EVENTS).flatMap(sectionLines),
    "}",
  ];
}

/** The settings of a section are numbers and booleans; fwup writes 0x… as decimal. */
function plainNumber(value: string): string {
  return /^0x/.test(value) ? String(Number(value)) : quoteIfNeeded(value);
}

function inOrder(sections: readonly ConfSection[], kinds: readonly string[]): ConfSection[] {
  return sections.toSorted((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
}
