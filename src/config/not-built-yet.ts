import { isDeepStrictEqual } from "node:util";
import { schema, type Config } from "./schema.ts";
import { isSection, type Section, type Setting } from "./setting.ts";
import { isTable } from "./table.ts";

/** One line for each setting that differs from its default and has no effect in this version. */
export function notBuiltYet(config: Config): string[] {
  return inSection(schema, config, "");
}

function inSection(section: Section, values: unknown, path: string): string[] {
  return Object.entries(section.entries).flatMap(([key, entry]) => {
    const keyPath = path === "" ? key : `${path}.${key}`;
    const value = isTable(values) ? values[key] : undefined;
    return isSection(entry)
      ? inSection(entry, value, keyPath)
      : inSetting(entry, value, keyPath, section.notBuiltYet);
  });
}

function inSetting(
  setting: Setting<unknown>,
  value: unknown,
  path: string,
  sectionIsLater: boolean,
): string[] {
  if (sectionIsLater || setting.notBuiltYet === true) {
    if (isDeepStrictEqual(value, setting.initial)) return [];
    return [`${path} is set, but not built yet in this version of hublink; it has no effect`];
  }
  const used = Array.isArray(value) ? value : [value];
  return (setting.notBuiltYet ?? [])
    .filter((option) => used.includes(option))
    .map((option) => `${path} = "${option}" is not built yet in this version of hublink`);
}
