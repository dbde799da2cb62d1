import * as v from "valibot";

/** What a setting's value looks like: how it is checked, and the words for it. */
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
  /** In the file's unit. */
  readonly initial: ValueOf<K>;
  /** One or two sentences for the engineer who sets it. */
  readonly about: string;
}

interface SettingNotes {
  /** What config.example.toml sets it to, for a key that has no useful default. */
  readonly example?: string;
  /** Its value is never shown. */
  readonly secret?: true;
}

/** One table of the configuration. */
export interface Section<E extends Entries = Entries> {
  readonly about: string;
  readonly entries: E;
}

export type Entry = Setting | Section;
export interface Entries {
  readonly [key: string]: Entry;
}

/** The values that a section or a setting describes, as the agent uses them: see {@link nameInConfig}. */
export type Values<E> =
  E extends Section<infer S>
    ? { readonly [K in keyof S as NameInConfig<K & string, S[K]>]: Values<S[K]> }
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
 * `deadlineMs` in `Config`, and `seconds` is `durationMs`: nothing but this folder counts in seconds.
 */
export function nameInConfig(key: string, entry: Entry): string {
  const name = isInSeconds(entry) ? (key === "seconds" ? "duration_ms" : key.replace(/_s$/, "_ms")) : key;
  return name.replace(/_(\w)/g, (_match, letter: string) => letter.toUpperCase());
}

/** A value in the unit of `Config`. */
export function valueInConfig(value: unknown, entry: Setting): unknown {
  return isInSeconds(entry) && typeof value === "number" ? Math.round(value * 1000) : value;
}

function isInSeconds(entry: Entry): boolean {
  return !isSection(entry) && "inSeconds" in entry.kind;
}

export function isSection(entry: Entry): entry is Section {
  return "entries" in entry;
}

export function section<E extends Entries>(about: string, entries: E): Section<E> {
  return { about, entries };
}

export function setting<K extends Kind<unknown>>(
  kind: K,
  initial: NoInfer<ValueOf<K>>,
  about: string,
  notes: SettingNotes = {},
): Setting<K> {
  return { kind, initial, about, ...notes };
}

export const flag: Kind<boolean> = {
  expected: "true or false",
  form: "boolean",
  schema: v.boolean("true or false"),
};

/** Text; `pattern`, when given, is what `expected` says in words. */
export function text(expected = "text", pattern = /^/): Kind<string> {
  return {
    expected,
    form: "text",
    // A zero byte would make the system calls behind it throw.
    schema: v.pipe(v.string(expected), v.regex(/^[^\0]*$/, expected), v.regex(pattern, expected)),
  };
}

/** Text that a test has to pass; empty text stands for "not set". */
export function checkedText(expected: string, isValid: (text: string) => boolean): Kind<string> {
  return {
    expected,
    form: "text",
    schema: v.pipe(
      v.string(expected),
      v.check((value) => value === "" || isValid(value), expected),
    ),
  };
}

export function choice<const T extends string>(...options: readonly T[]): Kind<T> {
  const quoted = options.map((option) => `"${option}"`);
  const expected = `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1) ?? ""}`;
  return { expected, form: "text", schema: v.picklist(options, expected) };
}

export function number(unit: string, min: number, max: number): Kind<number> {
  const expected = `a number${unit && ` of ${unit}`} from ${min} to ${max}`;
  return {
    expected,
    form: "number",
    schema: v.pipe(v.number(expected), v.minValue(min, expected), v.maxValue(max, expected)),
  };
}

export function wholeNumber(unit: string, min: number, max: number): Kind<number> {
  const expected = `a whole number${unit && ` of ${unit}`} from ${min} to ${max}`;
  return {
    expected,
    form: "number",
    schema: v.pipe(
      v.number(expected),
      v.integer(expected),
      v.minValue(min, expected),
      v.maxValue(max, expected),
    ),
  };
}

/** Up to 14 days: what a Node timer can still count in ms. */
export function seconds(min = 0.01, max = 1_209_600): SecondsKind {
  return { ...number("seconds", min, max), inSeconds: true };
}

export function arrayOf<T>(item: Kind<T>, minLength = 0): Kind<readonly T[]> {
  const expected = `an array${minLength > 0 ? `, not empty` : ""}, each item ${item.expected}`;
  return {
    expected,
    form: "array",
    schema: v.pipe(v.array(item.schema, expected), v.minLength(minLength, expected)),
  };
}

/** A table whose keys are names of environment variables. */
export const variables: Kind<Readonly<Record<string, string>>> = {
  expected: "a table of variables and their text",
  form: "table",
  schema: v.record(
    v.pipe(v.string(), v.regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "the name of an environment variable")),
    text().schema,
    "a table of variables and their text",
  ),
};

const serviceName = v.pipe(
  v.string(),
  v.regex(/^[a-z][a-z0-9_-]*(\/[A-Za-z0-9_.-]+)?$/, 'the name of a service, with or without "/INSTANCE"'),
);

/** A table whose keys are services, or SERVICE/INSTANCE. */
export const sources: Kind<Readonly<Record<string, string>>> = {
  expected: "a table of services and where their name comes from, 10 at most",
  form: "table",
  schema: v.pipe(
    v.record(serviceName, text().schema, "a table of services and where their name comes from"),
    v.check((table) => Object.keys(table).length <= 10, "10 services at most"),
  ),
};

/** A TOML table, its values not looked at yet. */
export type Table = Readonly<Record<string, unknown>>;

export function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** A key as it may stand in a message: on one line, and not endless. */
export function quoteKey(key: string): string {
  return /^[\w-]{1,60}$/.test(key) ? key : JSON.stringify(key.slice(0, 60));
}
