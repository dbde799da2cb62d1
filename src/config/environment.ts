/** The variables that override single keys of the file: `HUBLINK_HUB__URL` for `hub.url`. */
import { parseJson } from "../platform/text.ts";
import { schema } from "./schema.ts";
import { type Entry, isSection, isTable, isTableList, type Kind, nearestKey, type Table } from "./setting.ts";

/** The variables of a process, by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

interface Overridden {
  readonly table: Table;
  /** Which variable each overridden key comes from, by dotted path. */
  readonly variables: ReadonlyMap<string, string>;
  readonly problems: readonly string[];
  /** Dotted paths of keys that were probably meant by unknown variables. */
  readonly meant: readonly string[];
}

/**
 * One line for each variable that must not do what it does elsewhere. The program takes them out of its environment,
 * or Node itself would warn that nothing is verified.
 */
export function ignoredVariables(env: Environment): string[] {
  return env[VERIFY_NOTHING] === "0"
    ? [`${VERIFY_NOTHING}=0 in the environment is ignored: certificates are always verified; see hub.ca_file`]
    : [];
}

/** Set to 0, Node verifies no certificate where rejectUnauthorized is not given. */
export const VERIFY_NOTHING = "NODE_TLS_REJECT_UNAUTHORIZED";

const PREFIX = "HUBLINK_";

/**
 * Replaces values of the file by those of `HUBLINK_SECTION__KEY` variables. A text becomes a value of the key's
 * type if it can; otherwise it stays text, and the check of the whole table reports it.
 */
export function overrideByEnvironment(file: Table, env: Environment): Overridden {
  let table = file;
  const variables = new Map<string, string>();
  const problems: string[] = [];
  const meant: string[] = [];
  for (const [name, text] of Object.entries(env)) {
    if (text === undefined || !name.startsWith(PREFIX) || !name.includes("__")) continue;
    const keys = name.slice(PREFIX.length).toLowerCase().split("__");
    const entry = findEntry(keys);
    if (entry === undefined) {
      const nearest = nearestKey(schema, keys.slice(0, -1).join("."), String(keys.at(-1)));
      meant.push(nearest);
      problems.push(`${name}: unknown setting; did you mean ${variableFor(nearest)}?`);
    } else if (isTableList(entry)) {
      problems.push(`${name}: a list of tables can't be set by a variable; write it in the file`);
    } else if (isSection(entry)) {
      const key = String(Object.keys(entry.entries)[0]);
      problems.push(`${name}: names a section; set its keys instead, such as ${name}__${key.toUpperCase()}`);
    } else {
      table = withValue(table, keys, valueOf(text, entry.kind.form));
      variables.set(keys.join("."), name);
    }
  }
  return { table, variables, problems, meant };
}

/** The variable that overrides a key, such as `HUBLINK_HUB__URL` for `hub.url`. */
function variableFor(path: string): string {
  return PREFIX + path.toUpperCase().replaceAll(".", "__");
}

function findEntry(keys: readonly string[]): Entry | undefined {
  let entry: Entry = schema;
  for (const key of keys) {
    if (isTableList(entry)) return entry;
    if (!isSection(entry)) return undefined;
    const next: Entry | undefined = Object.hasOwn(entry.entries, key) ? entry.entries[key] : undefined;
    if (next === undefined) return undefined;
    entry = next;
  }
  return entry;
}

/** A copy with one value replaced; unchanged where the file has a value in place of a table, which the check reports. */
function withValue(table: Table, keys: readonly string[], value: unknown): Table {
  const [key, rest] = [String(keys[0]), keys.slice(1)];
  if (rest.length === 0) return { ...table, [key]: value };
  const inner = Object.hasOwn(table, key) ? table[key] : {};
  return isTable(inner) ? { ...table, [key]: withValue(inner, rest, value) } : table;
}

function valueOf(text: string, form: Kind<unknown>["form"]): unknown {
  switch (form) {
    case "text":
      return text;
    case "boolean":
      return text === "true" || (text === "false" ? false : text);
    case "number":
      return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
    case "array":
      if (text.trim() === "") return [];
      return text.trimStart().startsWith("[") ? jsonOr(text) : text.split(",").map((item) => item.trim());
    case "table":
      return jsonOr(text);
  }
}

/** The JSON value, or the text itself, which the check then refuses. */
function jsonOr(text: string): unknown {
  return parseJson(text) ?? text;
}
