/**
 * The kinds of values that settings take. Each has its check and, in `expected`, the words of that check:
 * they follow "expected" in an error and stand in the reference, so that both say the same.
 */
import * as v from "valibot";
import { schemeProblem } from "../platform/text.ts";
import { isHostPattern } from "../platform/url-hosts.ts";
import type { Kind, SecondsKind } from "./setting.ts";

/** True or false. */
export const flag: Kind<boolean> = {
  expected: "true or false",
  form: "boolean",
  schema: v.boolean("true or false"),
};

/** Text that matches `pattern`, which `expected` says in words. */
export function text(expected = "text", pattern = /^/): Kind<string> {
  return {
    expected,
    form: "text",
    // Node.js throws when a path or an argument with a zero byte reaches a system call.
    schema: v.pipe(v.string(expected), v.regex(/^[^\0]*$/, expected), v.regex(pattern, expected)),
  };
}

/** Text that passes a test; empty text means "not set" and always passes. */
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

/** One of some words. */
export function choice<const T extends string>(...options: readonly T[]): Kind<T> {
  const quoted = options.map((option) => `"${option}"`);
  const expected = `${quoted.slice(0, -1).join(", ")} or ${quoted.at(-1) ?? ""}`;
  return { expected, form: "text", schema: v.picklist(options, expected) };
}

/** @param unit its plural; empty for a number without one */
export function number(unit: string, min: number, max: number): Kind<number> {
  const expected = `a number${unit && ` of ${unit}`} from ${min} to ${max}`;
  return {
    expected,
    form: "number",
    schema: v.pipe(v.number(expected), v.minValue(min, expected), v.maxValue(max, expected)),
  };
}

/** @param unit its plural; empty for a number without one */
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

/** A time, by default up to 14 days: a timer of Node.js counts at most 24.8 days. */
export function seconds(min = 0.01, max = 1_209_600): SecondsKind {
  return { ...number("seconds", min, max), inSeconds: true };
}

/** A time without fractions. */
export function wholeSeconds(min: number, max: number): SecondsKind {
  return { ...wholeNumber("seconds", min, max), inSeconds: true };
}

/** An array whose items are all of one kind. */
export function arrayOf<T>(item: Kind<T>, minLength = 0, maxLength = Infinity): Kind<readonly T[]> {
  const bounds = [
    ...(minLength > 0 ? ["not empty"] : []),
    ...(maxLength < Infinity ? [`${maxLength} at most`] : []),
  ];
  const expected = `an array${bounds.map((bound) => `, ${bound}`).join("")}, each item ${item.expected}`;
  return {
    expected,
    form: "array",
    schema: v.pipe(
      v.array(item.schema, expected),
      v.minLength(minLength, expected),
      v.maxLength(maxLength, expected),
    ),
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

/** Names that the hub sends back to say what it means; also those that an application declares. */
export const COMPONENT_NAME = /^[A-Za-z0-9_-]{1,64}$/;
/**
 * What people read on the hub's page, and the values that they choose from. The hub cuts blanks at both ends, and closes
 * the connection over half a character.
 */
export const COMPONENT_TEXT = /^(?! )[^\0-\x1f\x7f-\x9f\ud800-\udfff]{1,64}(?<! )$/u;
export const METRIC_NAME = /^[A-Za-z0-9_.:-]{1,64}$/;

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

const SOCKET_SCHEMES: Readonly<Record<string, string>> = {
  "wss:": "wss:",
  "https:": "wss:",
  "ws:": "ws:",
  "http:": "ws:",
};

const HUB_SCHEMES = Object.keys(SOCKET_SCHEMES).map((scheme) => scheme.slice(0, -1));

const HOST_EXPECTED = "HOST, HOST:PORT, or either after *. for the names below it";

const HUB_EXPECTED = "wss://HOST, ws://HOST or a bare host name, without user, password or fragment";

/** The hub's address in the spellings that people use; the value is always `wss://…` or `ws://…`. */
export const hubAddress: Kind<string> = {
  expected: HUB_EXPECTED,
  form: "text",
  schema: v.pipe(
    v.string(HUB_EXPECTED),
    v.check(
      (text) => text === "" || socketUrl(text) !== undefined,
      ({ input }) => {
        const problem = schemeProblem(input, HUB_SCHEMES);
        return problem === undefined ? HUB_EXPECTED : `${HUB_EXPECTED}; ${problem}`;
      },
    ),
    v.transform((text) => socketUrl(text) ?? ""),
  ),
};

/** An HTTP proxy; empty text means "not set". */
export const proxyAddress = checkedText("http://HOST:PORT, with user:password@ if need be", (text) => {
  const url = parseUrl(text);
  return url !== undefined && url.protocol === "http:" && /^\/?$/.test(url.pathname);
});

/** A host whose files may be fetched. */
export const hostPattern: Kind<string> = {
  expected: HOST_EXPECTED,
  form: "text",
  schema: v.pipe(v.string(HOST_EXPECTED), v.check(isHostPattern, HOST_EXPECTED)),
};

/** The address as `wss://…` or `ws://…`, without a slash at the end of a bare host. */
function socketUrl(text: string): string | undefined {
  if (/\s/.test(text) || schemeProblem(text, HUB_SCHEMES) !== undefined) return undefined;
  const url = parseUrl(text.includes("://") ? text : `wss://${text}`);
  if (url === undefined || url.username !== "" || url.password !== "" || text.includes("#")) return undefined;
  const scheme = SOCKET_SCHEMES[url.protocol];
  if (scheme === undefined) return undefined;
  return `${scheme}//${url.host}${url.pathname === "/" ? "" : url.pathname}${url.search}`;
}

function parseUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}
