import { parseJson } from "../platform/json.ts";

/**
 * What a JSON pointer (RFC 6901) leads to in a JSON text; undefined when it leads nowhere or the text is no JSON.
 * @param pointer such as `/Self/ID`
 */
export function jsonPointer(text: string, pointer: string): unknown {
  let value = parseJson(text);
  const keys = pointer.split("/").slice(1);
  for (const key of keys.map((escaped) => escaped.replaceAll("~1", "/").replaceAll("~0", "~"))) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[key]; // an array's keys are its indices
  }
  return value;
}
