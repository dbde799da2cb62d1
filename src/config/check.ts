/**
 * Makes `Config` from a parsed file and the environment. All mistakes are found at once: an engineer who gets them one
 * at a time reboots a board for each. No message shows a secret.
 */
import * as v from "valibot";
import { Failure } from "../platform/failure.ts";
import { redact } from "../platform/log.ts";
import { proxyWarnings } from "../platform/proxy.ts";
import { type Environment, ignoredVariables, overrideByEnvironment } from "./environment.ts";
import { brokenRules, warningsFor } from "./rules.ts";
import { type Config, schema } from "./schema.ts";
import {
  type Entry,
  isSection,
  isTable,
  isTableList,
  nameInConfig,
  nearestKey,
  quoteKey,
  type Section,
  type Setting,
  type Table,
  type TableList,
  valueInConfig,
} from "./setting.ts";

/** A configuration that can be used. */
export interface Checked {
  readonly config: Config;
  /** One line for each setting that is valid but probably a mistake. */
  readonly warnings: readonly string[];
}

/**
 * Makes a configuration from a parsed file and the environment.
 * @param source what the file is called in an error
 * @throws ConfigFailure with everything that is wrong
 */
export function checkConfig(file: Table, env: Environment, source: string): Checked {
  const { table, variables, problems, meant } = overrideByEnvironment(file, env);
  const findings: Findings = { variables, problems: [...problems], wrong: [...meant] };
  const config = readConfig(table, findings);
  findings.problems.push(...brokenRules(config, findings.wrong));
  if (findings.problems.length > 0) throw new ConfigFailure(source, findings.problems);
  return {
    config,
    warnings: [...ignoredVariables(env), ...proxyWarnings(config.hub.proxy, env), ...warningsFor(config)],
  };
}

/** The configuration in which nothing is set. It is not a valid one, because it has no hub. */
export function defaultConfig(): Config {
  return readConfig({}, { variables: new Map(), problems: [], wrong: [] });
}

interface Findings {
  readonly variables: ReadonlyMap<string, string>;
  readonly problems: string[];
  /** Dotted paths of keys and sections that are wrong, or were probably meant by an unknown key. */
  readonly wrong: string[];
}

function readConfig(table: Table, findings: Findings): Config {
  // The only cast of this folder. The walk builds an object with a key and a checked value for each entry of
  // `schema`, which is what the type `Config` says; TypeScript can't follow a walk that goes by names.
  return readSection(schema, table, "", findings) as Config;
}

function readSection(section: Section, given: unknown, path: string, findings: Findings): Table {
  if (!isTable(given)) {
    findings.problems.push(`${path}: expected a table, [${path}]`);
    findings.wrong.push(path);
    return readSection(section, {}, path, findings);
  }
  const pathOf = (key: string): string => (path === "" ? key : `${path}.${key}`);
  for (const key of Object.keys(given)) {
    if (Object.hasOwn(section.entries, key)) continue;
    const nearest = nearestKey(schema, withoutPlaces(path), key);
    findings.wrong.push(nearest);
    findings.problems.push(`${pathOf(quoteKey(key))}: unknown key; did you mean ${nearest}?`);
  }
  return Object.fromEntries(
    Object.entries(section.entries).map(([key, entry]) => {
      const value = Object.hasOwn(given, key) ? given[key] : undefined;
      return [nameInConfig(key, entry), readEntry(entry, value, pathOf(key), findings)];
    }),
  );
}

function readEntry(entry: Entry, given: unknown, path: string, findings: Findings): unknown {
  if (isSection(entry)) return readSection(entry, given ?? {}, path, findings);
  if (isTableList(entry)) return readTables(entry, given ?? [], path, findings);
  return valueInConfig(readSetting(entry, given, path, findings), entry);
}

function readTables(
  { item, maxLength }: TableList,
  given: unknown,
  path: string,
  findings: Findings,
): Table[] {
  if (Array.isArray(given) && given.length <= maxLength && given.every(isTable)) {
    return given.map((table, index) => readSection(item, table, `${path}[${index}]`, findings));
  }
  findings.problems.push(
    `${path}: expected tables, each under [[${withoutPlaces(path)}]], ${maxLength} at most`,
  );
  findings.wrong.push(path);
  return [];
}

/** A path without the places in lists: `component.action` for `component[0].action`. */
function withoutPlaces(path: string): string {
  return path.replace(/\[\d+\]/g, "");
}

/** The checked value. The default stands in for one that is missing or wrong. */
function readSetting(setting: Setting, given: unknown, path: string, findings: Findings): unknown {
  if (given === undefined) {
    // A typo for this key is reported already.
    if (setting.needed === true && !findings.wrong.includes(withoutPlaces(path))) {
      findings.problems.push(`${path}: not set; expected ${setting.kind.expected}`);
      findings.wrong.push(path);
    }
    return setting.initial;
  }
  const result = v.safeParse(setting.kind.schema, given, { abortPipeEarly: true });
  if (result.success) return result.output;
  const variable = findings.variables.get(path);
  findings.wrong.push(path);
  for (const issue of result.issues) {
    const place = path + placeWithin(issue) + (variable === undefined ? "" : ` (${variable})`);
    const value = setting.secret === true ? "" : ` = ${describe(issue.input)}`;
    findings.problems.push(`${place}${value}: expected ${issue.message}`);
  }
  return setting.initial;
}

/** Where in an array or table of values: `[2]` or `.NAME`. */
function placeWithin(issue: v.BaseIssue<unknown>): string {
  const keys = issue.path?.map(({ key }) => key) ?? [];
  return keys.map((key) => (typeof key === "number" ? `[${key}]` : `.${quoteKey(String(key))}`)).join("");
}

const MAX_SHOWN_LENGTH = 80;

/** A wrong value as a message may show it: short, on one line, without a URL's user and query. */
function describe(value: unknown): string {
  switch (typeof value) {
    case "string": {
      // The text before an @ may be a password, even if the value is not a URL.
      const text = redact(value).replace(/^.*@/s, "…@");
      return JSON.stringify(text.length > MAX_SHOWN_LENGTH ? `${text.slice(0, MAX_SHOWN_LENGTH)}…` : text);
    }
    case "number":
    case "bigint":
    case "boolean":
      return String(value);
    default:
      if (Array.isArray(value)) return value.length === 0 ? "[]" : "[…]";
      return value instanceof Date ? "a date" : "{…}";
  }
}

/** Everything that is wrong with the configuration; no line shows a secret. */
export class ConfigFailure extends Failure {
  /** One line for each mistake. */
  readonly problems: readonly string[];
  readonly source: string;

  /** @param source what the mistakes are in, such as the file's path */
  constructor(source: string, problems: readonly string[], options?: ErrorOptions) {
    super("config", `${source}: ${problems.join("; ")}`, options);
    this.name = "ConfigFailure";
    this.problems = problems;
    this.source = source;
  }
}
