/**
 * The parts of the configuration's table in schema.ts: sections, which hold settings and sections; settings, which
 * have a kind (kinds.ts), a default and a text for the documentation; and lists of tables such as `[[component]]`, each
 * of which is read as a section. The type of `Config` and the names in it follow from the table, so that a setting is written down once. A key that is not in the table is answered with the nearest
 * one that is.
 */
import type * as v from "valibot";
import { editDistance } from "../platform/text.ts";

/** The values that a setting takes: how they are checked, and the words for them. */
export interface Kind<T> {
  readonly schema: v.GenericSchema<unknown, T>;
  /** Follows "expected" in an error and stands in the reference: `a number of seconds from 1 to 60`. */
  readonly expected: string;
  /** How the text of an environment variable becomes a value. */
  readonly form: "text" | "number" | "boolean" | "array" | "table";
}

/** Seconds in the file, milliseconds in `Config`. */
export interface SecondsKind extends Kind<number> {
  readonly inSeconds: true;
}

type ValueOf<K> = K extends Kind<infer T> ? T : never;

/** One key of the configuration. */
export interface Setting<K extends Kind<unknown> = Kind<unknown>> extends SettingNotes {
  readonly kind: K;
  /** The default, in the file's unit. */
  readonly initial: ValueOf<K>;
  /** One or two sentences for the engineer who sets it. */
  readonly about: string;
}

interface SettingNotes {
  /** The value in config.example.toml, for a key that has no useful default. */
  readonly example?: string | boolean | readonly string[];
  /** Its value is never shown. */
  readonly secret?: true;
  /** It has no default: in each table of a list it must be set. */
  readonly needed?: true;
}

/** One table of the configuration. */
export interface Section<E extends Entries = Entries> {
  readonly about: string;
  readonly entries: E;
}

/** A list of tables, `[[PATH]]` in the file, each read as a section. Without any it is empty. */
export interface TableList<E extends Entries = Entries> {
  readonly item: Section<E>;
  readonly maxLength: number;
}

/** The entry under one key. */
export type Entry = Setting | Section | TableList;

/** The entries of a section, by the keys of the file. */
export interface Entries {
  readonly [key: string]: Entry;
}

/** The type of a section's or setting's value in `Config`; {@link nameInConfig} makes the names. */
export type Values<E> =
  E extends Section<infer S>
    ? { readonly [K in keyof S as NameInConfig<K & string, S[K]>]: Values<S[K]> }
    : E extends TableList<infer S>
      ? readonly Values<Section<S>>[]
      : E extends Setting<infer K>
        ? ValueOf<K>
        : never;

type NameInConfig<Key extends string, E> =
  E extends Setting<SecondsKind>
    ? Key extends `${infer Name}_s`
      ? `${CamelCase<Name>}Ms`
      : "durationMs"
    : CamelCase<Key>;

type CamelCase<Key extends string> = Key extends `${infer First}_${infer Rest}`
  ? `${First}${Capitalize<CamelCase<Rest>>}`
  : Key;

/**
 * The name of a key in `Config`: `cert_file` is `certFile`. A time is `deadline_s` in the file and
 * `deadlineMs` in `Config`, and `seconds` is `durationMs`: only this folder counts in seconds. The type
 * {@link NameInConfig} says the same to the compiler.
 */
export function nameInConfig(key: string, entry: Entry): string {
  const name = isInSeconds(entry) ? (key === "seconds" ? "duration_ms" : key.replace(/_s$/, "_ms")) : key;
  return name.replace(/_(\w)/g, (_match, letter: string) => letter.toUpperCase());
}

/** A setting's value in the unit of `Config`: milliseconds for a time in seconds. */
export function valueInConfig(value: unknown, entry: Setting): unknown {
  return isInSeconds(entry) && typeof value === "number" ? Math.round(value * 1000) : value;
}

function isInSeconds(entry: Entry): boolean {
  return !isSection(entry) && !isTableList(entry) && "inSeconds" in entry.kind;
}

/** Tells a section from the other entries. */
export function isSection(entry: Entry): entry is Section {
  return "entries" in entry;
}

/** Tells a list of tables from the other entries. */
export function isTableList(entry: Entry): entry is TableList {
  return "item" in entry;
}

/** Makes a section; `about` stands in the documentation. */
export function section<E extends Entries>(about: string, entries: E): Section<E> {
  return { about, entries };
}

/** Makes a list of tables; `about` says what one of them is, and stands in the documentation. */
export function tables<E extends Entries>(about: string, maxLength: number, entries: E): TableList<E> {
  return { item: section(about, entries), maxLength };
}

/** Makes a setting, its default in the file's unit. */
export function setting<K extends Kind<unknown>>(
  kind: K,
  initial: NoInfer<ValueOf<K>>,
  about: string,
  notes: SettingNotes = {},
): Setting<K> {
  return { kind, initial, about, ...notes };
}

/** A TOML table whose values are not checked yet. */
export type Table = Readonly<Record<string, unknown>>;

/** Whether a value that was read is a table; a date is an object too. */
export function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** A key as a message may show it: on one line, and at most 60 characters of it. */
export function quoteKey(key: string): string {
  return /^[\w-]{1,60}$/.test(key) ? key : JSON.stringify(key.slice(0, 60));
}

/** Only this much of an unknown key is compared: the time grows with its length. */
const MAX_KEY_LENGTH = 60;

/** A key of another section counts as this many more changes than one of the same section. */
const ELSEWHERE = 2;

/**
 * The known key that was most likely meant, as a dotted path.
 * @param home dotted path of the section in which the unknown key stands; empty for the top
 */
export function nearestKey(root: Section, home: string, unknown: string): string {
  let nearest = "";
  let least = Infinity;
  const meant = unknown.slice(0, MAX_KEY_LENGTH).toLowerCase();
  const visit = (section: Section, path: string): void => {
    for (const [key, entry] of Object.entries(section.entries)) {
      const keyPath = path === "" ? key : `${path}.${key}`;
      const cost = editDistance(meant, key) + (path === home ? 0 : ELSEWHERE);
      if (cost < least) [nearest, least] = [keyPath, cost];
      if (isSection(entry)) visit(entry, keyPath);
      else if (isTableList(entry)) visit(entry.item, keyPath);
    }
  };
  visit(root, "");
  return nearest;
}
