import * as v from "valibot";

/** What a setting's value looks like: how it is checked, and the words for it. */
export interface Kind<T> {
  readonly schema: v.GenericSchema<unknown, T>;
  /** Follows "expected" in an error and stands in the reference: `a number of seconds from 1 to 60`. */
  readonly expected: string;
  /** How the text of an environment variable becomes a value. */
  readonly form: "text" | "number" | "boolean" | "array" | "table";
}

/** One key of the configuration. */
export interface Setting<T> extends SettingNotes {
  readonly kind: Kind<T>;
  readonly initial: T;
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

export type Entry = Setting<unknown> | Section;
export interface Entries {
  readonly [key: string]: Entry;
}

/** The values that a section or a setting describes. */
export type Values<E> =
  E extends Section<infer S>
    ? { readonly [K in keyof S]: Values<S[K]> }
    : E extends Setting<infer T>
      ? T
      : never;

export function isSection(entry: Entry): entry is Section {
  return "entries" in entry;
}

export function section<E extends Entries>(about: string, entries: E): Section<E> {
  return { about, entries };
}

export function setting<T>(
  kind: Kind<T>,
  initial: NoInfer<T>,
  about: string,
  notes: SettingNotes = {},
): Setting<T> {
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
export function seconds(min = 0.01, max = 1_209_600): Kind<number> {
  return number("seconds", min, max);
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
