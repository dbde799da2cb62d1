/**
 * Text that comes from outside: as bytes, as JSON, as a stream of lines, as a URL. What comes in is limited
 * in size and checked before anything else reads it.
 */
import { isUtf8 } from "node:buffer";

/**
 * The text of UTF-8 bytes, without a byte order mark. A Node without ICU, such as the one in our 32-bit
 * binaries, has no TextDecoder with `fatal`.
 * @throws TypeError when they are not UTF-8
 */
export function decodeUtf8(bytes: Uint8Array): string {
  if (!isUtf8(bytes)) throw new TypeError("not UTF-8");
  return new TextDecoder().decode(bytes);
}

/** Returns undefined for invalid JSON; no schema accepts undefined. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Whether a text is written as an http or https URL, rather than as a path. */
export function isHttpUrl(text: string): boolean {
  return /^https?:\/\//i.test(text);
}

/**
 * What is wrong with the scheme of a text that is meant to be a URL, in words that show nothing else of it; undefined
 * when nothing is, or when it is no URL at all. `wss:/host` and `http//host` would else be a host name or a file.
 * @param schemes the ones that can be used, without their colon
 */
export function schemeProblem(text: string, schemes: readonly string[]): string | undefined {
  const [, scheme = ""] = /^([a-z][a-z0-9+.-]{0,15})(?::\/\/|:|\/\/)/i.exec(text) ?? [];
  if (scheme === "") return undefined;
  const rest = text.slice(scheme.length);
  const isKnown = schemes.includes(scheme.toLowerCase());
  if (rest.startsWith("://")) return isKnown ? undefined : `${scheme}:// can't be used`;
  if (!isKnown) return undefined;
  return rest.startsWith(":")
    ? `a slash is missing after ${scheme}:, write ${scheme}://`
    : `the colon is missing after ${scheme}, write ${scheme}://`;
}

const DEFAULT_PORTS: Readonly<Record<string, string>> = {
  "http:": "80",
  "ws:": "80",
  "https:": "443",
  "wss:": "443",
};

/** A URL's port, also where it is the default one, which a URL does not show; empty for a protocol without ports. */
export function portOf({ port, protocol }: URL): string {
  return port || (DEFAULT_PORTS[protocol] ?? "");
}

/**
 * Where a Location header leads; undefined when it is not a URL. Node gives each byte of a header as one character.
 * Servers write UTF-8 there without escaping it, and a byte that is escaped here stays the byte it was.
 */
export function locationUrl(header: string, base: URL): URL | undefined {
  const escaped = header.replace(/[\u0080-\u00ff]/g, (byte) => `%${hex(byte, 2).toUpperCase()}`);
  return URL.canParse(escaped, base.href) ? new URL(escaped, base) : undefined;
}

/** Joins the lines of a text by semicolons; empty ones are left out. */
export function oneLine(text: string): string {
  // Not by one regular expression for a line end and the blanks around it: each blank of a long row would be tried
  // as its beginning, and 100 000 of them in a product's name stopped the agent for minutes.
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .join("; ");
}

/**
 * Characters that a terminal obeys, or that change how the text around them is seen: controls (C0, DEL, C1), marks and
 * overrides of direction, line separators, and characters without width. Spelled out, since `\p{C}` needs ICU.
 */
const UNSEEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * A text of others as a person may see it: in one line, and with each character visible. The hub or fwup could
 * otherwise forge what a status or a log says.
 */
export function printable(text: string): string {
  return text.replace(
    UNSEEN,
    (character) =>
      SHORT[character] ?? (character < "\u0100" ? `\\x${hex(character, 2)}` : `\\u${hex(character, 4)}`),
  );
}

/** JSON that a person may see. It is parsed to the same value, because the escapes are JSON's own. */
export function printableJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(
    UNSEEN,
    (character) => (character === "\n" ? character : `\\u${hex(character, 4)}`), // a line end of its layout
  );
}

function hex(character: string, digits: number): string {
  return character.charCodeAt(0).toString(16).padStart(digits, "0");
}

/**
 * A text of at most `maxLength` characters; the last one shows that more followed. No character is cut in two: a hub
 * closes the connection over half a one.
 */
export function shortened(text: string, maxLength: number): string {
  if (text.length <= maxLength) return text;
  return `${text.slice(0, maxLength - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}

/** The text with U+FFFD for each half of a character, which JSON from outside may hold. */
export function wellFormed(text: string): string {
  return Buffer.from(text, "utf8").toString("utf8");
}

/** Only this much of a word that nobody knows is compared: the time grows with its length. */
const MAX_COMPARED = 60;

/** The known word that was probably meant; undefined when none is like it. */
export function nearestOf(word: string, known: Iterable<string>): string | undefined {
  const meant = word.slice(0, MAX_COMPARED).toLowerCase();
  let nearest: string | undefined;
  let least = Math.max(2, Math.floor(meant.length / 2));
  for (const candidate of known) {
    const cost = candidate.startsWith(meant) ? 1 : editDistance(meant, candidate);
    if (cost < least) [nearest, least] = [candidate, cost];
  }
  return nearest;
}

/** The Levenshtein distance: how many letters must be added, removed or changed. */
export function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const change = (row[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}

/** Cuts a byte stream into lines. Empty lines are skipped. */
export class LineSplitter {
  readonly #maxBytes: number;
  readonly #onLine: (line: string) => void;
  readonly #onTooLong: () => void;
  #pending: Buffer = Buffer.alloc(0);
  #ended = false;

  /** @param onTooLong called once for a line over `maxBytes`; what comes after it is dropped */
  constructor(maxBytes: number, onLine: (line: string) => void, onTooLong: () => void) {
    this.#maxBytes = maxBytes;
    this.#onLine = onLine;
    this.#onTooLong = onTooLong;
  }

  push(chunk: Uint8Array): void {
    if (this.#ended) return;
    this.#pending = Buffer.concat([this.#pending, chunk]);
    let end = this.#pending.indexOf(10);
    while (end !== -1 && end <= this.#maxBytes) {
      const line = this.#pending.subarray(0, end).toString("utf8");
      this.#pending = this.#pending.subarray(end + 1);
      if (line.trim() !== "") this.#onLine(line);
      end = this.#pending.indexOf(10);
    }
    if ((end === -1 ? this.#pending.length : end) <= this.#maxBytes) return;
    this.#ended = true;
    this.#pending = Buffer.alloc(0);
    this.#onTooLong();
  }
}
